// Options shared by the commands. Values are validated during parsing, so that an error names the option and the valid
// values.
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using Atelier.Model.Diffusion;

namespace Atelier.Cli;

internal static class Choices
{
    /// <summary>A number in [<paramref name="low"/>, <paramref name="high"/>] with a default.</summary>
    public static Option<T> Number<T>(
        string name, T low, T high, T fallback, string description, params string[] aliases)
        where T : struct, INumber<T> => new(name, aliases)
        {
            HelpName = "N",
            Description = description,
            DefaultValueFactory = _ => fallback,
            CustomParser = result => Parse(result, name, low, high) ?? fallback,
        };

    /// <summary>An optional number in [<paramref name="low"/>, <paramref name="high"/>].</summary>
    public static Option<T?> NumberOrNone<T>(string name, T low, T high, string description)
        where T : struct, INumber<T> => new(name)
        {
            HelpName = "N",
            Description = description,
            CustomParser = result => Parse(result, name, low, high),
        };

    /// <summary>One of a few words; the first is the default.</summary>
    public static Option<string> Word(string name, string description, params string[] words)
    {
        var option = new Option<string>(name)
        {
            HelpName = string.Join("|", words),
            Description = description,
            DefaultValueFactory = _ => words[0],
        };
        option.Validators.Add(result =>
        {
            if (result.GetValue(option) is { } word && !words.Contains(word))
            {
                result.AddError($"{name} is \"{word}\"; it must be {string.Join(" or ", words)}.");
            }
        });
        return option;
    }

    /// <summary>The precision of networks' computation, a word of <see cref="Model.Runtime.Precision"/>.</summary>
    public static Option<string> Precision(string name, string description) => Word(
        name, $"{description} auto is bfloat16 if the processor has instructions for it, otherwise float32.",
        Model.Runtime.Precision.Auto, Model.Runtime.Precision.Float32, Model.Runtime.Precision.BFloat16);

    /// <summary>A string with a default.</summary>
    public static Option<string> Text(string name, string description, string fallback) =>
        new(name) { HelpName = "TEXT", Description = description, DefaultValueFactory = _ => fallback };

    /// <summary>A path, which need not exist.</summary>
    public static Option<T> Path<T>(string name, string description, bool required = false)
        where T : FileSystemInfo =>
        new(name)
        {
            HelpName = typeof(T) == typeof(FileInfo) ? "FILE" : "DIR",
            Description = description,
            Required = required,
        };

    /// <summary>The file to which a command also writes its result as JSON.</summary>
    public static Option<FileInfo> Json() =>
        Path<FileInfo>("--json", "Also write the result to this file as JSON.");

    /// <summary>The column of an MDS data set that holds captions.</summary>
    public static Option<string?> CaptionColumn() => new("--caption-column")
    {
        HelpName = "NAME",
        Description = "The data set's column of captions (str or json); by default caption or text, or the only one.",
    };

    /// <summary>A column of an MDS data set that holds pictures.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="set">The set that it belongs to, as in "the data set's".</param>
    public static Option<string?> PictureColumn(string name = "--picture-column", string set = "The data set's") =>
        new(name)
        {
            HelpName = "NAME",
            Description = $"{set} column of pictures (jpeg or png); by default image, jpg or such, or the only one.",
        };

    /// <summary>The sampler's churn; 0 by default.</summary>
    public static Option<double> Churn()
    {
        // Above the number of steps times sqrt(2) - 1, more churn has no effect.
        const int max = SamplerSettings.StepsMax;
        return Number<double>("--churn", 0, max, 0, $"Noise added while sampling, 0 (none) to {max}.");
    }

    /// <summary>The lowest and highest noise level between which guidance acts; null for all levels.</summary>
    public static Option<(double Low, double High)?> GuidanceInterval()
    {
        const string name = "--guidance-interval";
        return new Option<(double Low, double High)?>(name)
        {
            HelpName = "LOW HIGH",
            Description = "Noise levels between which guidance acts; by default it acts at every noise level.",
            Arity = new ArgumentArity(1, 2),
            AllowMultipleArgumentsPerToken = true,
            CustomParser = result =>
            {
                string[] texts = [.. result.Tokens.Select(token => token.Value)];
                double[] levels = [.. texts.Select(text =>
                    double.TryParse(text, CultureInfo.InvariantCulture, out double level) ? level : double.NaN)];
                if (levels is [>= 0 and var low, <= double.MaxValue and var high] && low <= high)
                {
                    return (low, high);
                }

                result.AddError(
                    $"{name} is \"{string.Join(' ', texts)}\"; it must be two numbers, LOW HIGH, with "
                    + "0 <= LOW <= HIGH.");
                return null;
            },
        };
    }

    private static T? Parse<T>(ArgumentResult result, string name, T low, T high)
        where T : struct, INumber<T>
    {
        string text = result.Tokens[0].Value;
        // 1 / 2 is an integer (0) only for integer types.
        bool whole = T.IsInteger(T.One / (T.One + T.One));
        NumberStyles style = whole ? NumberStyles.AllowLeadingSign : NumberStyles.Float;
        if (T.TryParse(text, style, CultureInfo.InvariantCulture, out T value) && value >= low && value <= high)
        {
            return value;
        }

        string typed = ((OptionResult)result.Parent!).IdentifierToken?.Value ?? name;
        string kind = whole ? "whole number" : "number";
        result.AddError($"{typed} is \"{text}\"; it must be a {kind} from {low} to {high}.");
        return null;
    }
}

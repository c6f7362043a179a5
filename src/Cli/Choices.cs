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
    /// <summary>An option for a number in [<paramref name="low"/>, <paramref name="high"/>], with a default.</summary>
    public static Option<T> Number<T>(
        string name, T low, T high, T fallback, string description, params string[] aliases)
        where T : struct, INumber<T> => new(name, aliases)
        {
            HelpName = "N",
            Description = description,
            DefaultValueFactory = _ => fallback,
            CustomParser = result => Parse(result, name, low, high) ?? fallback,
        };

    /// <summary>
    /// An option for a number in [<paramref name="low"/>, <paramref name="high"/>]; null if it is not given.
    /// </summary>
    public static Option<T?> NumberOrNone<T>(string name, T low, T high, string description)
        where T : struct, INumber<T> => new(name)
        {
            HelpName = "N",
            Description = description,
            CustomParser = result => Parse(result, name, low, high),
        };

    /// <summary>An option that takes one of <paramref name="words"/>; the first of them is the default.</summary>
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

    /// <summary>
    /// An option for the precision in which networks compute: one of the constants of
    /// <see cref="Model.Runtime.Precision"/>.
    /// </summary>
    public static Option<string> Precision(string name, string description) => Word(
        name, $"{description} auto is bfloat16 if the processor has instructions for it, otherwise float32.",
        Model.Runtime.Precision.Auto, Model.Runtime.Precision.Float32, Model.Runtime.Precision.BFloat16);

    /// <summary>An option for a string, with a default.</summary>
    public static Option<string> Text(string name, string description, string fallback) =>
        new(name) { HelpName = "TEXT", Description = description, DefaultValueFactory = _ => fallback };

    /// <summary>An option for a path. The path need not exist.</summary>
    public static Option<T> Path<T>(string name, string description, bool required = false)
        where T : FileSystemInfo =>
        new(name)
        {
            HelpName = typeof(T) == typeof(FileInfo) ? "FILE" : "DIR",
            Description = description,
            Required = required,
        };

    /// <summary>The option for a file to which a command also writes its result as JSON.</summary>
    public static Option<FileInfo> Json() =>
        Path<FileInfo>("--json", "Also write the result to this file as JSON.");

    /// <summary>The option for the column of captions in an MDS data set.</summary>
    public static Option<string?> CaptionColumn() => new("--caption-column")
    {
        HelpName = "NAME",
        Description =
            "The data set's caption column (str or json). Default: the column named caption or text, else the only str "
            + "or json column.",
    };

    /// <summary>An option for a column of pictures in an MDS data set.</summary>
    /// <param name="name">The option's name.</param>
    /// <param name="set">
    /// The data set that has the column, in the possessive: the first words of the description.
    /// </param>
    public static Option<string?> PictureColumn(string name = "--picture-column", string set = "The data set's") =>
        new(name)
        {
            HelpName = "NAME",
            Description =
                $"{set} picture column (jpeg or png). Default: the column named image, jpg or similar, else the only "
                + "jpeg or png column.",
        };

    /// <summary>The option for the sampler's churn; 0 by default.</summary>
    public static Option<double> Churn()
    {
        // Churn above (sqrt(2) - 1) times the number of steps has no further effect, so a larger range is useless.
        const int max = SamplerSettings.StepsMax;
        return Number<double>("--churn", 0, max, 0, $"Noise added while sampling, 0 (none) to {max}.");
    }

    /// <summary>
    /// The option for the lowest and the highest noise level at which guidance acts; null for all levels.
    /// </summary>
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

// A YAML file as a flat list of dotted keys. Whoever reads a key makes it known, so that a misspelt key is found, and
// the nearest known one can be named.
using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Atelier.Model.Configuration;

/// <summary>
/// Keys and values of a configuration file, with overrides; every error names file, key and what would be right.
/// </summary>
public sealed class ConfigTree
{
    private const int FileBytesMax = 1 << 20;
    private const int TyposMax = 3;

    private readonly SortedDictionary<string, string[]> _values = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, string> _defaults = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _known = new(StringComparer.Ordinal);
    private readonly string _file;

    private ConfigTree(string file) => _file = file;

    /// <summary>Reads a file and applies overrides of the form key=value; a list is separated by commas.</summary>
    /// <exception cref="RefusedFileException">
    /// The file is too long, or no YAML mapping of texts, lists and mappings.
    /// </exception>
    /// <exception cref="ArgumentException">An override is no key=value.</exception>
    public static ConfigTree Read(string path, IEnumerable<string> overrides)
    {
        var tree = new ConfigTree(path);
        try
        {
            var yaml = new YamlStream();
            using var reader = new StringReader(TextFile.Read(path, FileBytesMax));
            yaml.Load(reader);
            if (yaml.Documents is not [{ RootNode: YamlMappingNode root }])
            {
                throw new RefusedFileException(path, "line 1", "is no mapping of keys to values.");
            }

            tree.Add("", root);
        }
        catch (YamlException error)
        {
            throw new RefusedFileException(path, $"line {error.Start.Line}", error.Message, error);
        }

        foreach (string change in overrides)
        {
            if (change.IndexOf('=') is not (> 0 and var at))
            {
                throw new ArgumentException($"\"{change}\" is no key=value.", nameof(overrides));
            }

            tree._values[change[..at]] = change[(at + 1)..].Split(',');
        }

        return tree;
    }

    /// <summary>
    /// Every key with its value, overrides applied, as key: value lines; also those read so far that have a default.
    /// </summary>
    public IEnumerable<string> Lines => _values.Select(pair => $"{pair.Key}: {string.Join(", ", pair.Value)}")
        .Concat(_defaults.Select(pair => $"{pair.Key}: {pair.Value} (default)"))
        .Order(StringComparer.Ordinal);

    /// <summary>Whether a key has a value.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>A text.</summary>
    public string Text(string key, string? otherwise = null) => Find(key) switch
    {
        [var value] => value,
        null => Default(key, otherwise) ?? throw Missing(key),
        _ => throw Wrong(key, "is a list; one value belongs here"),
    };

    /// <summary>One of several texts.</summary>
    public string OneOf(string key, string otherwise, params ReadOnlySpan<string> choices)
    {
        string value = Text(key, otherwise);
        return choices.Contains(value)
            ? value : throw Wrong(key, $"is {value}; it may be {string.Join(", ", choices)}");
    }

    /// <summary>Several texts.</summary>
    public string[] Texts(string key) => Find(key) ?? [];

    /// <summary>A whole number in [min, max].</summary>
    public long Integer(string key, long min, long max, long? otherwise = null)
    {
        if (Find(key) is null)
        {
            return Default(key, otherwise) ?? throw Missing(key);
        }

        return long.TryParse(Text(key).Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture, out long value)
            && value >= min && value <= max
            ? value
            : throw Wrong(key, $"is {Text(key)}; a whole number from {min} to {max} belongs here");
    }

    /// <summary>A duration in batches, written 2500ba.</summary>
    public long Batches(string key, long? otherwise = null, long min = 0)
    {
        if (Find(key) is null)
        {
            return Default(key, otherwise, "ba") ?? throw Missing(key);
        }

        string text = Text(key);
        return text.EndsWith("ba", StringComparison.Ordinal)
            && long.TryParse(text[..^2], NumberStyles.None, CultureInfo.InvariantCulture, out long value)
            && value >= min
            ? value
            : throw Wrong(key, $"is {text}; a number of batches belongs here, at least {min}ba, such as 2500ba");
    }

    /// <summary>A number in [min, max].</summary>
    public double Number(string key, double min, double max, double? otherwise = null)
    {
        if (Find(key) is null)
        {
            return Default(key, otherwise) ?? throw Missing(key);
        }

        return double.TryParse(Text(key), NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
            && value >= min && value <= max
            ? value
            : throw Wrong(key, $"is {Text(key)}; a number from {min} to {max} belongs here");
    }

    /// <summary>Several numbers.</summary>
    public double[]? Numbers(string key) => Find(key)?.Select(text =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
        && double.IsFinite(value)
            ? value
            : throw Wrong(key, $"holds {text}, which is no number")).ToArray();

    /// <summary>Refuses keys that nobody has asked for, and names the nearest known one.</summary>
    /// <exception cref="RefusedFileException">There is an unknown key.</exception>
    public void RefuseUnknown()
    {
        foreach (string key in _values.Keys.Where(key => !_known.Contains(key)))
        {
            string nearest = _known.MinBy(known => EditDistance.Between(known, key))!;
            throw new RefusedFileException(_file, key, $"is no key of a training stage; did you mean {nearest}?");
        }
    }

    /// <summary>A range of numbers, first and last.</summary>
    public (double First, double Last) Range(string key, double first, double last) => Numbers(key) switch
    {
        null => Default(key, (first, last)),
        [var one, var other] => (one, other),
        var numbers =>
            throw Wrong(key, $"holds {numbers.Length} numbers; two belong here, for the first block and the last"),
    };

    /// <summary>A refusal of a key's value.</summary>
    public RefusedFileException Wrong(string key, string reason) => new(_file, key, reason + ".");

    // What is missing may be there under a misspelt name, which nobody has asked for.
    private RefusedFileException Missing(string key)
    {
        string? near = _values.Keys
            .Where(other => !_known.Contains(other) && EditDistance.Between(other, key) <= TyposMax)
            .MinBy(other => EditDistance.Between(other, key));
        return new RefusedFileException(
            _file, key, near is null ? "is missing." : $"is missing; there is {near}: is it meant?");
    }

    private T Default<T>(string key, T value, string unit = "")
    {
        if (value is not null)
        {
            _defaults[key] = string.Create(CultureInfo.InvariantCulture, $"{value}{unit}");
        }

        return value;
    }

    private string[]? Find(string key)
    {
        _known.Add(key);
        return _values.GetValueOrDefault(key);
    }

    private void Add(string prefix, YamlMappingNode mapping)
    {
        foreach ((YamlNode name, YamlNode value) in mapping)
        {
            string key = name is YamlScalarNode plain
                ? prefix + plain.Value
                : throw new RefusedFileException(_file, $"line {name.Start.Line}", "a key must be a text.");
            if (_values.ContainsKey(key))
            {
                throw new RefusedFileException(
                    _file, $"line {name.Start.Line}",
                    $"{key} stands there before: as a dotted key and as a nested one.");
            }

            switch (value)
            {
                case YamlMappingNode inner:
                    Add(key + ".", inner);
                    break;
                case YamlSequenceNode list when list.All(item => item is YamlScalarNode):
                    _values[key] = [.. list.Select(item => ((YamlScalarNode)item).Value ?? "")];
                    break;
                case YamlScalarNode { Value: null or "null" or "~" or "" }:
                    break;
                case YamlScalarNode scalar:
                    _values[key] = [scalar.Value];
                    break;
                default:
                    throw new RefusedFileException(
                        _file, $"line {value.Start.Line}", $"{key} must be a text, a list of texts or a mapping.");
            }
        }
    }
}

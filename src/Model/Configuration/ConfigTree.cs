// A YAML file as a flat list of dotted keys. Reading a key registers it as known, so that a misspelled key is detected
// and the nearest known key is suggested.
using System.Globalization;
using Atelier.Configuration;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Atelier.Model.Configuration;

/// <summary>
/// Keys and values of a configuration file, with overrides. Every error names the file, the key and the expected value.
/// </summary>
public sealed class ConfigTree
{
    private const int FileBytesMax = 1 << 20;
    private const int TyposMax = 3;

    private readonly SortedDictionary<string, string[]> _values = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, string> _defaults = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _lists = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _known = new(StringComparer.Ordinal);
    private readonly string _file;

    private ConfigTree(string file) => _file = file;

    /// <summary>Reads a file and applies overrides of the form key=value; a list is separated by commas.</summary>
    /// <exception cref="RefusedFileException">
    /// The file is too long, or is not a YAML mapping of strings, lists and mappings.
    /// </exception>
    /// <exception cref="ArgumentException">An override is not of the form key=value.</exception>
    public static ConfigTree Read(string path, IEnumerable<string> overrides) =>
        Parse(path, TextFile.Read(path, FileBytesMax), overrides);

    /// <summary>Reads the text of a file and applies overrides, as <see cref="Read"/> does.</summary>
    /// <param name="path">Name of the file, for error messages.</param>
    /// <param name="text">Contents of the file.</param>
    /// <param name="overrides">Overrides of the form key=value.</param>
    public static ConfigTree Parse(string path, string text, IEnumerable<string> overrides)
    {
        var tree = new ConfigTree(path);
        try
        {
            var yaml = new YamlStream();
            using var reader = new StringReader(text);
            yaml.Load(reader);
            if (yaml.Documents is not [{ RootNode: YamlMappingNode root }])
            {
                throw new RefusedFileException(path, "line 1", "is not a mapping of keys to values.");
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
                throw new ArgumentException($"\"{change}\" is not of the form key=value.", nameof(overrides));
            }

            tree._values[change[..at]] = change[(at + 1)..].Split(',');
        }

        return tree;
    }

    /// <summary>
    /// Every key with its value after overrides, as "key: value" lines, including the defaults that were read so far.
    /// </summary>
    public IEnumerable<string> Lines => _values.Select(pair => $"{pair.Key}: {string.Join(", ", pair.Value)}")
        .Concat(_defaults.Select(pair => $"{pair.Key}: {pair.Value} (default)"))
        .Order(StringComparer.Ordinal);

    /// <summary>Whether a key has a value.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>A string, or the default if the key is absent; without a default it must be present.</summary>
    public string Text(string key, string? otherwise = null) => Find(key) switch
    {
        [var value] => value,
        null => Default(key, otherwise) ?? throw Missing(key),
        _ => throw Wrong(key, "is a list; it must be one value"),
    };

    /// <summary>One of the given strings, or the default if the key is absent.</summary>
    public string OneOf(string key, string otherwise, params ReadOnlySpan<string> choices)
    {
        string value = Text(key, otherwise);
        return choices.Contains(value)
            ? value : throw Wrong(key, $"is {value}; it must be one of {string.Join(", ", choices)}");
    }

    /// <summary>A list of strings; empty if the key is absent.</summary>
    public string[] Texts(string key) => Find(key) ?? [];

    /// <summary>
    /// Number of mappings in a list of mappings; 0 if the key is absent. The keys of item i begin with "key.i.".
    /// </summary>
    public int Mappings(string key)
    {
        int count = _lists.GetValueOrDefault(key);
        while (_values.Keys.Any(other => other.StartsWith($"{key}.{count}.", StringComparison.Ordinal)))
        {
            count++; // Added by an override.
        }

        return count;
    }

    /// <summary>An integer in [min, max], or the default if the key is absent; '_' may separate digits.</summary>
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
            : throw Wrong(key, $"is {Text(key)}; it must be an integer from {min} to {max}");
    }

    /// <summary>A duration in batches, written as in "2500ba"; the default if the key is absent.</summary>
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
            : throw Wrong(key, $"is {text}; it must be a number of batches, at least {min}ba, such as 2500ba");
    }

    /// <summary>A number in [min, max], or the default if the key is absent.</summary>
    public double Number(string key, double min, double max, double? otherwise = null)
    {
        if (Find(key) is null)
        {
            return Default(key, otherwise) ?? throw Missing(key);
        }

        return double.TryParse(Text(key), NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
            && value >= min && value <= max
            ? value
            : throw Wrong(key, $"is {Text(key)}; it must be a number from {min} to {max}");
    }

    /// <summary>A list of numbers; null if the key is absent.</summary>
    public double[]? Numbers(string key) => Find(key)?.Select(text =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
        && double.IsFinite(value)
            ? value
            : throw Wrong(key, $"holds {text}, which is not a number")).ToArray();

    /// <summary>Refuses keys that were never read, and suggests the nearest known key.</summary>
    /// <exception cref="RefusedFileException">There is an unknown key.</exception>
    public void RefuseUnknown()
    {
        foreach (string key in _values.Keys.Where(key => !_known.Contains(key)))
        {
            string nearest = _known.MinBy(known => EditDistance.Between(known, key))!;
            throw new RefusedFileException(_file, key, $"is not a key of a training stage; did you mean {nearest}?");
        }
    }

    /// <summary>A range given by its first and last number.</summary>
    public (double First, double Last) Range(string key, double first, double last) => Numbers(key) switch
    {
        null => Default(key, (first, last)),
        [var one, var other] => (one, other),
        var numbers =>
            throw Wrong(key, $"holds {numbers.Length} numbers; it must have two, for the first and the last block"),
    };

    /// <summary>An exception that refuses a key's value.</summary>
    public RefusedFileException Wrong(string key, string reason) => new(_file, key, reason + ".");

    // A missing key may be present under a misspelled name, which was never read.
    private RefusedFileException Missing(string key)
    {
        string? near = _values.Keys
            .Where(other => !_known.Contains(other) && EditDistance.Between(other, key) <= TyposMax)
            .MinBy(other => EditDistance.Between(other, key));
        return new RefusedFileException(
            _file, key, near is null ? "is missing." : $"is missing; {near} may be a misspelling of it.");
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
                : throw new RefusedFileException(_file, $"line {name.Start.Line}", "a key must be a string.");
            if (_values.ContainsKey(key))
            {
                throw new RefusedFileException(
                    _file, $"line {name.Start.Line}",
                    $"{key} is given twice: as a dotted key and as a nested one.");
            }

            switch (value)
            {
                case YamlMappingNode inner:
                    Add(key + ".", inner);
                    break;
                case YamlSequenceNode list when list.All(item => item is YamlScalarNode):
                    _values[key] = [.. list.Select(item => ((YamlScalarNode)item).Value ?? "")];
                    break;
                case YamlSequenceNode { Children.Count: > 0 } list when list.All(item => item is YamlMappingNode):
                    _lists[key] = list.Children.Count;
                    for (int i = 0; i < list.Children.Count; i++)
                    {
                        Add($"{key}.{i}.", (YamlMappingNode)list.Children[i]);
                    }

                    break;
                case YamlScalarNode { Value: null or "null" or "~" or "" }:
                    break;
                case YamlScalarNode scalar:
                    _values[key] = [scalar.Value];
                    break;
                default:
                    throw new RefusedFileException(
                        _file, $"line {value.Start.Line}",
                        $"{key} must be a string, a list of strings, a mapping or a list of mappings.");
            }
        }
    }
}

// A reader of a network's configuration file. The reader refuses values of the wrong kind with a message that names the
// file, the place and the expected kind; the configuration record checks whether the values make a valid network.
using System.Text.Json;

namespace Atelier.Model.Configuration;

/// <summary>One object of a JSON configuration file; absent and null members take the fallback.</summary>
internal readonly struct ConfigFields
{
    // A configuration is about a page of text; a file above this size is something else.
    private const long LongestFile = 1 << 20;

    private readonly JsonElement _element;
    private readonly string _file;
    private readonly string _place;

    /// <summary>Wraps the object <paramref name="element"/>, found at <paramref name="place"/> in a file.</summary>
    /// <exception cref="RefusedFileException">The element is not an object.</exception>
    public ConfigFields(JsonElement element, string file, string place)
    {
        _element = element;
        _file = file;
        _place = place;
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw Refusal($"is {element.ValueKind}, not a JSON object.");
        }
    }

    /// <summary>Reads a whole file and passes its root to <paramref name="parse"/>.</summary>
    /// <exception cref="RefusedFileException">The file is too long or not JSON, or the parser refused it.</exception>
    public static T ReadFile<T>(string path, Func<JsonElement, string, T> parse)
    {
        using FileStream stream = File.OpenRead(path);
        if (stream.Length > LongestFile)
        {
            throw new RefusedFileException(
                path, "length", $"is {stream.Length} bytes; a configuration has at most {LongestFile}.");
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(stream);
            return parse(document.RootElement, path);
        }
        catch (JsonException e)
        {
            throw new RefusedFileException(path, $"line {e.LineNumber + 1}", "not JSON: " + e.Message, e);
        }
    }

    /// <summary>Whether a member is present and not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>The object at <paramref name="name"/>, which must be present.</summary>
    public ConfigFields Section(string name) => new(Find(name) ?? throw Missing(name), _file, Place(name));

    /// <summary>The unparsed value of a member, which must be present.</summary>
    public JsonElement Raw(string name) => Find(name) ?? throw Missing(name);

    /// <summary>A string, which must be present.</summary>
    public string Text(string name) => Raw(name) is { ValueKind: JsonValueKind.String } value
        ? value.GetString()!
        : throw new RefusedFileException(_file, Place(name), "is not a string.");

    /// <summary>A 32-bit integer, or the fallback if it is absent; without a fallback it must be present.</summary>
    public int Integer(string name, int? fallback = null) =>
        Find(name) is { } value ? ToInteger(name, value) : fallback ?? throw Missing(name);

    /// <summary>A number, or the fallback if it is absent; without a fallback it must be present.</summary>
    public double Number(string name, double? fallback = null) =>
        Find(name) switch
        {
            null => fallback ?? throw Missing(name),
            { ValueKind: JsonValueKind.Number } value => value.GetDouble(),
            { } value => throw Wrong(name, value, "a number"),
        };

    /// <summary>A boolean, or the fallback if it is absent.</summary>
    public bool Flag(string name, bool fallback) =>
        Find(name) switch
        {
            null => fallback,
            { ValueKind: JsonValueKind.True } => true,
            { ValueKind: JsonValueKind.False } => false,
            { } value => throw Wrong(name, value, "true or false"),
        };

    /// <summary>A list of 32-bit integers, or the fallback if it is absent.</summary>
    public int[] Integers(string name, int[] fallback)
    {
        if (Find(name) is not { } list)
        {
            return fallback;
        }

        if (list.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(name, list, "a list of 32-bit integers");
        }

        int[] numbers = new int[list.GetArrayLength()];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = ToInteger($"{name}[{i}]", list[i]);
        }

        return numbers;
    }

    /// <summary>
    /// Refuses the file if a member is present and is neither this string nor a list of only this string.
    /// </summary>
    public void MustBe(string name, string only)
    {
        if (Find(name) is not { } value)
        {
            return;
        }

        IEnumerable<JsonElement> texts = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray() : [value];
        foreach (JsonElement text in texts)
        {
            if (text.ValueKind != JsonValueKind.String || text.GetString() != only)
            {
                throw new RefusedFileException(
                    _file, Place(name), $"is {text.GetRawText()}; only \"{only}\" is supported.");
            }
        }
    }

    /// <summary>Refuses the file if a member outside this list has a value other than null or false.</summary>
    public void AllowOnly(params ReadOnlySpan<string> names)
    {
        foreach (JsonProperty member in _element.EnumerateObject())
        {
            bool says = member.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False);
            if (says && !names.Contains(member.Name))
            {
                throw new RefusedFileException(
                    _file, Place(member.Name), $"is unknown; known members are {string.Join(", ", names)}.");
            }
        }
    }

    /// <summary>An exception that refuses the whole object.</summary>
    public RefusedFileException Refusal(string reason) => new(_file, _place.Length == 0 ? "top level" : _place, reason);

    private JsonElement? Find(string name) =>
        _element.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private string Place(string name) => _place.Length == 0 ? name : $"{_place}.{name}";

    private RefusedFileException Missing(string name) => new(_file, Place(name), "is missing.");

    private RefusedFileException Wrong(string name, JsonElement value, string right) =>
        new(_file, Place(name), $"is {value.ValueKind}, not {right}.");

    private int ToInteger(string name, JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number)
            ? number
            : throw Wrong(name, value, "a 32-bit integer");
}

// Reading a network's configuration file: values of the wrong kind are refused with file, place and what would be
// right. Whether the values make a network is for the configuration record to say.
using System.Text.Json;

namespace Atelier.Model.Configuration;

/// <summary>One object of a JSON configuration file; absent and null members take the fallback.</summary>
internal readonly struct ConfigFields
{
    // A configuration is a page of text. More is something else.
    private const long LongestFile = 1 << 20;

    private readonly JsonElement _element;
    private readonly string _file;
    private readonly string _place;

    /// <summary>Takes the object <paramref name="element"/>, found at <paramref name="place"/> of a file.</summary>
    /// <exception cref="RefusedFileException">The element is not an object.</exception>
    public ConfigFields(JsonElement element, string file, string place)
    {
        _element = element;
        _file = file;
        _place = place;
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw Refusal($"is {element.ValueKind} where a JSON object belongs.");
        }
    }

    /// <summary>Reads a whole file and hands its root to <paramref name="parse"/>.</summary>
    /// <exception cref="RefusedFileException">The file is too long or not JSON, or the parser refused it.</exception>
    public static T ReadFile<T>(string path, Func<JsonElement, string, T> parse)
    {
        using FileStream stream = File.OpenRead(path);
        if (stream.Length > LongestFile)
        {
            throw new RefusedFileException(
                path, "length", $"{stream.Length} bytes; a configuration has at most {LongestFile}.");
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

    /// <summary>Whether a member is there and not null.</summary>
    public bool Has(string name) => Find(name) is not null;

    /// <summary>The object at <paramref name="name"/>, which must be there.</summary>
    public ConfigFields Section(string name) => new(Find(name) ?? throw Missing(name), _file, Place(name));

    /// <summary>A member as it stands, which must be there.</summary>
    public JsonElement Raw(string name) => Find(name) ?? throw Missing(name);

    /// <summary>A text, which must be there.</summary>
    public string Text(string name) => Raw(name) is { ValueKind: JsonValueKind.String } value
        ? value.GetString()!
        : throw new RefusedFileException(_file, Place(name), "is not a text.");

    /// <summary>A whole number.</summary>
    public int Integer(string name, int? fallback = null) =>
        Find(name) is { } value ? ToInteger(name, value) : fallback ?? throw Missing(name);

    /// <summary>A number.</summary>
    public double Number(string name, double? fallback = null) =>
        Find(name) switch
        {
            null => fallback ?? throw Missing(name),
            { ValueKind: JsonValueKind.Number } value => value.GetDouble(),
            { } value => throw Wrong(name, value, "a number"),
        };

    /// <summary>True or false.</summary>
    public bool Flag(string name, bool fallback) =>
        Find(name) switch
        {
            null => fallback,
            { ValueKind: JsonValueKind.True } => true,
            { ValueKind: JsonValueKind.False } => false,
            { } value => throw Wrong(name, value, "true or false"),
        };

    /// <summary>A list of whole numbers.</summary>
    public int[] Integers(string name, int[] fallback)
    {
        if (Find(name) is not { } list)
        {
            return fallback;
        }

        if (list.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(name, list, "a list of whole numbers");
        }

        int[] numbers = new int[list.GetArrayLength()];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = ToInteger($"{name}[{i}]", list[i]);
        }

        return numbers;
    }

    /// <summary>Refuses the file if a member is there and is not this text, or a list of nothing else.</summary>
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
                    _file, Place(name), $"is {text.GetRawText()}; only \"{only}\" is known here.");
            }
        }
    }

    /// <summary>Refuses the file if another member than these says anything but null or false.</summary>
    public void AllowOnly(params ReadOnlySpan<string> names)
    {
        foreach (JsonProperty member in _element.EnumerateObject())
        {
            bool says = member.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False);
            if (says && !names.Contains(member.Name))
            {
                throw new RefusedFileException(
                    _file, Place(member.Name), $"is not known here; known are {string.Join(", ", names)}.");
            }
        }
    }

    /// <summary>A refusal of the whole object.</summary>
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
            : throw Wrong(name, value, "a whole number of 32 bits");
}

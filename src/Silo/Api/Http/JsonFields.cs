// The JSON object of a request's body, parsed strictly and read member by member. Error messages say what would be
// valid.
using System.Globalization;
using System.Text.Json;
using System.Text.Unicode;
using Atelier.Configuration;
using Atelier.Contracts;
using Atelier.Contracts.Generations;

namespace Atelier.Silo.Api.Http;

/// <summary>
/// Members of a JSON object. A member that is null counts as absent. Each member is read with the type and range that
/// it must have.
/// </summary>
internal sealed class JsonFields
{
    private const int ShownMax = 64;

    private const int DepthMax = 8;

    private static readonly JsonDocumentOptions s_strict =
        new() { AllowDuplicateProperties = false, MaxDepth = DepthMax };

    private readonly JsonElement _object;

    private JsonFields(JsonElement members) => _object = members;

    /// <summary>Parses an object that may have the members of <paramref name="known"/> and no others.</summary>
    /// <exception cref="ApiException">The body is not a JSON object with these members only.</exception>
    public static JsonFields Parse(ReadOnlyMemory<byte> body, IReadOnlyCollection<string> known)
    {
        if (!Utf8.IsValid(body.Span))
        {
            throw new ApiException(ApiError.Invalid(null, "invalid_json", "The body is not valid UTF-8."));
        }

        JsonElement root;
        try
        {
            using JsonDocument document = JsonDocument.Parse(body, s_strict);
            root = document.RootElement.Clone();
        }
        catch (InvalidOperationException)
        {
            throw new ApiException(ApiError.Invalid(
                null, "invalid_json",
                "The name of a member in the body is not valid Unicode: it has an unpaired surrogate."));
        }
        catch (JsonException) when (RepeatedMember(body.Span) is { } repeated)
        {
            throw new ApiException(repeated);
        }
        catch (JsonException error)
        {
            throw new ApiException(ApiError.Invalid(
                null, "invalid_json",
                $"The body is not valid JSON at line {error.LineNumber + 1}, byte {error.BytePositionInLine + 1}: it "
                + $"may be truncated, or nested more than {DepthMax} levels deep."));
        }

        if (root.ValueKind != JsonValueKind.Object)
        {
            throw new ApiException(
                ApiError.Invalid(null, "invalid_type", $"The body must be a JSON object, not {Shown(root)}."));
        }

        foreach (JsonProperty member in root.EnumerateObject())
        {
            if (!known.Contains(member.Name))
            {
                string name = ShortText.Of(member.Name, ShownMax);
                string nearest = known.MinBy(one => EditDistance.Between(one, name))!;
                throw new ApiException(
                    ApiError.Invalid(name, "unknown_parameter", $"Unknown member '{name}'. Did you mean '{nearest}'?"));
            }
        }

        return new JsonFields(root);
    }

    /// <summary>Text of bounded length, in characters (Unicode code points).</summary>
    public string? Text(string name, int lengthMax)
    {
        string right = $"text of at most {lengthMax} characters";
        if (Find(name) is not { } value)
        {
            return null;
        }

        string text = value.ValueKind == JsonValueKind.String
            ? Unescaped(name, value)
            : throw WrongType(name, right, value);
        return GenerationSpec.CharactersOf(text) is var length && length <= lengthMax
            ? text
            : throw new ApiException(
                ApiError.Invalid(
                    name, "invalid_value",
                    $"'{name}' has {length} characters, counted as Unicode code points; it may have at most "
                    + $"{lengthMax}."));
    }

    /// <summary>One of several allowed words.</summary>
    public string? Choice(string name, params string[] choices)
    {
        string right = $"one of {string.Join(", ", choices)}";
        return Find(name) switch
        {
            null => null,
            { ValueKind: not JsonValueKind.String } value => throw WrongType(name, right, value),
            { } value =>
                Array.Find(choices, choice => choice == Unescaped(name, value)) ?? throw WrongValue(name, right, value),
        };
    }

    /// <summary>A whole number in a range.</summary>
    public long? Whole(string name, long min, long max)
    {
        string right = $"a whole number in {min}..{max}";
        return Find(name) switch
        {
            null => null,
            { ValueKind: not JsonValueKind.Number } value => throw WrongType(name, right, value),
            { } value =>
                value.TryGetInt64(out long number) && number >= min && number <= max
                    ? number
                    : throw WrongValue(name, right, value),
        };
    }

    /// <summary>A number in a range.</summary>
    public double? Number(string name, double min, double max)
    {
        string right =
            $"a number in {min.ToString(CultureInfo.InvariantCulture)}..{max.ToString(CultureInfo.InvariantCulture)}";
        return Find(name) switch
        {
            null => null,
            { ValueKind: not JsonValueKind.Number } value => throw WrongType(name, right, value),
            { } value =>
                value.TryGetDouble(out double number) && number >= min && number <= max
                    ? number
                    : throw WrongValue(name, right, value),
        };
    }

    /// <summary>True or false.</summary>
    public bool? Flag(string name) => Find(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } value => throw WrongType(name, "true or false", value),
    };

    /// <summary>A seed: a number, or the same number as text for clients whose numbers cannot hold 64 bits.</summary>
    public ulong? Seed(string name)
    {
        string right = $"a whole number in 0..{ulong.MaxValue}, as a number or as text";
        return Find(name) switch
        {
            null => null,
            { ValueKind: JsonValueKind.Number } value =>
                value.TryGetUInt64(out ulong seed) ? seed : throw WrongValue(name, right, value),
            { ValueKind: JsonValueKind.String } value =>
                ulong.TryParse(Unescaped(name, value), NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed)
                    ? seed : throw WrongValue(name, right, value),
            { } value => throw WrongType(name, right, value),
        };
    }

    /// <summary>A name that follows the rule of <see cref="Names"/>.</summary>
    public string? Name(string name) => Find(name) switch
    {
        null => null,
        { ValueKind: not JsonValueKind.String } value => throw WrongType(name, Names.Rule, value),
        { } value =>
            Names.AreValid(Unescaped(name, value)) ? value.GetString() : throw WrongValue(name, Names.Rule, value),
    };

    private JsonElement? Find(string name) =>
        _object.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    // JSON can contain an escaped unpaired surrogate, which is not valid text.
    private static string Unescaped(string name, JsonElement value)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new ApiException(
                ApiError.Invalid(
                    name, "invalid_value", $"'{name}' is not valid Unicode: it has an unpaired surrogate."));
        }
    }

    private static ApiException WrongType(string name, string right, JsonElement value) =>
        new(ApiError.Invalid(name, "invalid_type", $"'{name}' must be {right}, not {Shown(value)}."));

    private static ApiException WrongValue(string name, string right, JsonElement value) =>
        new(ApiError.Invalid(name, "invalid_value", $"'{name}' must be {right}, not {Shown(value)}."));

    private static string Shown(JsonElement value)
    {
        string text = value.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => "a list",
            _ => value.GetRawText(),
        };
        return ShortText.WithDots(text, ShownMax);
    }

    // Finds the repeated member, which the parser reports without its position. Null if no member is repeated.
    private static ApiError? RepeatedMember(ReadOnlySpan<byte> body)
    {
        var reader = new Utf8JsonReader(body, new JsonReaderOptions { MaxDepth = DepthMax });
        var names = new Stack<(string Path, HashSet<string>? Names)>();
        string name = "";
        try
        {
            while (reader.Read())
            {
                switch (reader.TokenType)
                {
                    case JsonTokenType.StartObject or JsonTokenType.StartArray:
                        string path = names.TryPeek(out (string Path, HashSet<string>? Names) outer)
                            ? outer.Path + (outer.Names is null ? "[]" : ShortText.Of(name, ShownMax))
                            : "";
                        bool isObject = reader.TokenType == JsonTokenType.StartObject;
                        names.Push((isObject && path.Length > 0 ? path + "." : path, isObject ? [] : null));
                        break;
                    case JsonTokenType.EndObject or JsonTokenType.EndArray:
                        names.Pop();
                        break;
                    case JsonTokenType.PropertyName:
                        name = reader.GetString()!;
                        if (!names.Peek().Names!.Add(name))
                        {
                            string member = names.Peek().Path + ShortText.Of(name, ShownMax);
                            ReadOnlySpan<byte> before = body[..(int)reader.TokenStartIndex];
                            int line = before.Count((byte)'\n') + 1;
                            int place = before.Length - before.LastIndexOf((byte)'\n');
                            return ApiError.Invalid(
                                member, "invalid_json",
                                $"The body has the member '{member}' twice, the second time at line {line}, "
                                + $"byte {place}.");
                        }

                        break;
                    default:
                        break;
                }
            }
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The body has another fault before any repeated member.
        }

        return null;
    }
}

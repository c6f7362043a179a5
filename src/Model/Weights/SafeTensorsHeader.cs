// The header of a safetensors file: eight bytes of length, a JSON object, then the data that the object describes
// without gaps, overlaps or trailing bytes. All of it is checked here before a byte of data is read.
using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Unicode;

namespace Atelier.Model.Weights;

/// <summary>A parsed and checked safetensors header.</summary>
internal sealed class SafeTensorsHeader
{
    public const string MetadataKey = "__metadata__";
    public const int LengthBytes = 8;
    public const long MaxBytes = 100_000_000;
    private const int MaxDepth = 8;

    private readonly ByteSource _source;
    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);

    public SafeTensorsHeader(ByteSource source)
    {
        _source = source;
        var json = ReadJson(out var dataStart);
        try
        {
            Parse(json);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // An escaped unpaired surrogate causes an InvalidOperationException.
            throw source.Refuse("header", "is not valid JSON", e);
        }

        CheckRanges(source.Length - dataStart);
        Tensors = _entries.Values.Select(entry => entry.Info)
            .ToDictionary(info => info.Name, StringComparer.Ordinal);
        Starts = _entries.ToDictionary(pair => pair.Key, pair => dataStart + pair.Value.Begin, StringComparer.Ordinal);
    }

    public Dictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Offset of each tensor's first byte in the file.</summary>
    public Dictionary<string, long> Starts { get; }

    public Dictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    private static string Place(string name) => $"tensor \"{name}\"";

    private byte[] ReadJson(out long dataStart)
    {
        Span<byte> prefix = stackalloc byte[LengthBytes];
        _source.Read(0, prefix, "header length");
        var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        var room = Math.Min(MaxBytes, _source.Length - LengthBytes);
        if (length > (ulong)room)
        {
            throw _source.Refuse("header length",
                $"announces {length} bytes; the file has {_source.Length - LengthBytes}, "
                + $"and at most {MaxBytes} are allowed");
        }

        var json = _source.ReadArray(LengthBytes, (long)length, "header");
        if (json.Length == 0 || json[0] != '{')
        {
            throw _source.Refuse("header", "does not begin with '{'");
        }

        if (!Utf8.IsValid(json))
        {
            throw _source.Refuse("header", "is not UTF-8");
        }

        dataStart = LengthBytes + json.Length;
        return json;
    }

    private void Parse(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        reader.Read();
        var sawMetadata = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            reader.Read();
            if (name != MetadataKey)
            {
                ParseEntry(ref reader, name);
            }
            else if (sawMetadata)
            {
                throw _source.Refuse(MetadataKey, "occurs twice");
            }
            else
            {
                sawMetadata = true;
                ParseMetadata(ref reader);
            }
        }

        // Only white space may follow; anything else is a JsonException.
        reader.Read();
    }

    private void ParseMetadata(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw _source.Refuse(MetadataKey, "is not an object");
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString()!;
            if (!reader.Read() || reader.TokenType != JsonTokenType.String)
            {
                throw _source.Refuse(MetadataKey, $"the value of \"{key}\" is not a string");
            }

            if (!Metadata.TryAdd(key, reader.GetString()!))
            {
                throw _source.Refuse(MetadataKey, $"\"{key}\" occurs twice");
            }
        }
    }

    private void ParseEntry(ref Utf8JsonReader reader, string name)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw _source.Refuse(Place(name), "is not an object");
        }

        string? code = null;
        long[]? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = reader.GetString();
            reader.Read();
            var isNew = field switch
            {
                "dtype" => code is null && (code = ParseCode(ref reader, name)) is not null,
                "shape" => shape is null && (shape = ParseNumbers(ref reader, name, field)) is not null,
                "data_offsets" => offsets is null && (offsets = ParseNumbers(ref reader, name, field)) is not null,
                _ => throw _source.Refuse(Place(name), $"has the unknown field \"{field}\""),
            };
            if (!isNew)
            {
                throw _source.Refuse(Place(name), $"{field} occurs twice");
            }
        }

        if (code is null || shape is null || offsets is not { Length: 2 })
        {
            throw _source.Refuse(Place(name), "needs dtype, shape and data_offsets [begin, end]");
        }

        if (!_entries.TryAdd(name, CheckEntry(name, code, shape, offsets[0], offsets[1])))
        {
            throw _source.Refuse(Place(name), "occurs twice");
        }
    }

    private string ParseCode(ref Utf8JsonReader reader, string name) => reader.TokenType == JsonTokenType.String
        ? reader.GetString()!
        : throw _source.Refuse(Place(name), "dtype is not a string");

    private long[] ParseNumbers(ref Utf8JsonReader reader, string name, string field)
    {
        var numbers = new List<long>();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw _source.Refuse(Place(name), $"{field} is not an array");
        }

        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var number))
            {
                throw _source.Refuse(Place(name), $"{field} holds something other than 64-bit integers");
            }

            numbers.Add(number);
        }

        return [.. numbers];
    }

    private Entry CheckEntry(string name, string code, long[] shape, long begin, long end)
    {
        if (!ElementTypes.TryParse(code, out var type))
        {
            throw _source.Refuse(
                Place(name), $"dtype \"{code}\" is not supported; supported are {ElementTypes.AllCodes}");
        }

        if (TensorInfo.Measure(shape, type.Size(), out var bytes) is { } fault)
        {
            throw _source.Refuse(Place(name), fault);
        }

        if (begin < 0 || end < begin)
        {
            throw _source.Refuse(Place(name),
                $"data_offsets [{begin}, {end}] {(begin < 0 ? "begin before the data" : "run backwards")}");
        }

        if (end - begin != bytes)
        {
            throw _source.Refuse(Place(name),
                $"{TensorInfo.Describe(code, shape)} needs {bytes} bytes, but data_offsets cover {end - begin}");
        }

        return new Entry(new TensorInfo(name, type, shape), begin, end);
    }

    private void CheckRanges(long dataLength)
    {
        long covered = 0;
        foreach (var (info, begin, end) in _entries.Values.OrderBy(e => e.Begin).ThenBy(e => e.End))
        {
            if (begin != covered)
            {
                throw _source.Refuse(Place(info.Name), begin > covered
                    ? $"bytes {covered} to {begin} of the data belong to no tensor"
                    : $"data_offsets [{begin}, {end}] overlap those of another tensor, which end at {covered}");
            }

            if (end > dataLength)
            {
                throw _source.Refuse(Place(info.Name), $"ends at byte {end} of the data, which has {dataLength}");
            }

            covered = end;
        }

        if (covered != dataLength)
        {
            throw _source.Refuse("data", $"{dataLength - covered} bytes follow the last tensor");
        }
    }

    private readonly record struct Entry(TensorInfo Info, long Begin, long End);
}

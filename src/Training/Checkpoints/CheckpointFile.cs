// The format of a checkpoint's parts. Each slice of the state's vectors is a safetensors file with one tensor per
// vector, in the layout that single-process training writes. The file's metadata says where the slice begins; a file
// without that entry holds whole vectors.
using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Atelier.Training.Checkpoints;

/// <summary>Writes and reads the parts of a checkpoint.</summary>
public static class CheckpointFile
{
    /// <summary>Metadata key of the run's position.</summary>
    public const string PositionKey = "position";

    /// <summary>
    /// Metadata key of the slice. The value is the index of the first weight, the number of weights in the slice, and
    /// P, separated by commas.
    /// </summary>
    public const string SliceKey = "slice";

    /// <summary>Metadata key of the step of the last planned checkpoint before this one.</summary>
    public const string PlannedKey = "planned";

    private const string MetadataKey = "__metadata__";
    private const int HeaderBytesMax = 64 << 20;

    /// <summary>Writes a part of a checkpoint as bytes. Equal states give equal bytes.</summary>
    /// <param name="state">The state at the checkpoint.</param>
    /// <param name="part">Index of the part; the last part holds the step records.</param>
    /// <param name="metadata">Metadata besides position and slice.</param>
    /// <param name="layout">How the vectors are cut into parts; null for the layout that checkpoints use.</param>
    public static byte[] Write(
        TrainingState state, int part, IReadOnlyDictionary<string, string> metadata, CheckpointLayout? layout = null)
    {
        layout ??= new CheckpointLayout(state.Parameters);
        if (part == layout.Slices)
        {
            return StepRecord.Write(state.Records, state.PreviousRecords);
        }

        (int start, int count) = layout.Slice(part);
        StateVector[] order = [.. state.Vectors.OrderBy(vector => vector.Name, StringComparer.Ordinal)];
        byte[] header = Header(order, start, count, state, metadata);
        byte[] file = new byte[header.Length + (order.Length * count * sizeof(float))];
        header.CopyTo(file, 0);
        Span<byte> rest = file.AsSpan(header.Length);
        foreach (StateVector vector in order)
        {
            MemoryMarshal.AsBytes(vector.Values.AsSpan(start, count)).CopyTo(rest);
            rest = rest[(int)(count * sizeof(float))..];
        }

        return file;
    }

    /// <summary>Reads a slice from a part and copies its numbers into the vectors.</summary>
    /// <param name="file">The part's bytes.</param>
    /// <param name="part">Index of the part.</param>
    /// <param name="vectors">The vectors, P numbers each; only the slice is overwritten.</param>
    /// <returns>The file's metadata.</returns>
    /// <exception cref="InvalidDataException">The file does not contain this slice of these vectors.</exception>
    public static IReadOnlyDictionary<string, string> Read(
        ReadOnlySpan<byte> file, int part, IReadOnlyList<StateVector> vectors)
    {
        (int start, int count) = new CheckpointLayout(vectors[0].Values.LongLength).Slice(part);
        int length = HeaderLength(file, file.Length, part);
        Dictionary<string, JsonElement> header = ParseHeader(file.Slice(sizeof(long), length), part);
        ReadOnlySpan<byte> data = file[(sizeof(long) + length)..];
        foreach (StateVector vector in vectors)
        {
            if (!header.TryGetValue(vector.Name, out JsonElement entry)
                || !IsSlice(entry, count, data.Length, out int at))
            {
                throw new InvalidDataException(
                    $"Part {part} of a checkpoint must have {count} F32 numbers for the vector {vector.Name}.");
            }

            data.Slice(at, (int)(count * sizeof(float)))
                .CopyTo(MemoryMarshal.AsBytes(vector.Values.AsSpan(start, count)));
        }

        return MetadataOf(header);
    }

    /// <summary>Length in bytes of a part's header, which follows the eight bytes with this length.</summary>
    /// <param name="begin">The first bytes of the part, at least eight if it has them.</param>
    /// <param name="fileLength">Length of the part in bytes.</param>
    /// <param name="part">Index of the part.</param>
    /// <exception cref="InvalidDataException">The part does not begin with this length.</exception>
    public static int HeaderLength(ReadOnlySpan<byte> begin, long fileLength, int part) =>
        begin.Length >= sizeof(long)
        && BinaryPrimitives.ReadInt64LittleEndian(begin) is > 1 and <= HeaderBytesMax and var length
        && length <= fileLength - sizeof(long)
            ? (int)length
            : throw new InvalidDataException(
                $"Part {part} of a checkpoint does not begin with the length of its header.");

    /// <summary>The metadata in a part's header.</summary>
    /// <param name="header">The header, without its length.</param>
    /// <param name="part">Index of the part.</param>
    /// <exception cref="InvalidDataException">The header is not JSON.</exception>
    public static Dictionary<string, string> MetadataOf(ReadOnlySpan<byte> header, int part) =>
        MetadataOf(ParseHeader(header, part));

    /// <summary>Reads the run's position from a file's metadata.</summary>
    /// <exception cref="InvalidDataException">The metadata has no position, or the position cannot be read.</exception>
    public static RunPosition PositionOf(IReadOnlyDictionary<string, string> metadata)
    {
        try
        {
            return metadata.TryGetValue(PositionKey, out string? json)
                && JsonSerializer.Deserialize<RunPosition>(json) is { } position
                ? position : throw new InvalidDataException("A checkpoint has no position in its metadata.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException("The position of a checkpoint cannot be read.", error);
        }
    }

    private static Dictionary<string, string> MetadataOf(Dictionary<string, JsonElement> header) =>
        header.TryGetValue(MetadataKey, out JsonElement metadata)
        && metadata.Deserialize<Dictionary<string, string>>() is { } read ? read : [];

    private static bool IsSlice(JsonElement entry, long count, int bytes, out int at)
    {
        at = 0;
        try
        {
            if (entry.GetProperty("dtype").GetString() != "F32"
                || entry.GetProperty("shape").Deserialize<long[]>() is not [var shape] || shape != count
                || entry.GetProperty("data_offsets").Deserialize<long[]>() is not [>= 0 and var first, var end]
                || end - first != count * sizeof(float) || end > bytes)
            {
                return false;
            }

            at = (int)first;
            return true;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            return false;
        }
    }

    private static Dictionary<string, JsonElement> ParseHeader(ReadOnlySpan<byte> json, int part)
    {
        try
        {
            return JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(json)
                ?? throw new JsonException("The header is null.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"The header of part {part} of a checkpoint is not JSON.", error);
        }
    }

    private static byte[] Header(
        StateVector[] order, long start, long count, TrainingState state, IReadOnlyDictionary<string, string> metadata)
    {
        var all = new SortedDictionary<string, string>(metadata.ToDictionary(), StringComparer.Ordinal)
        {
            [PositionKey] = JsonSerializer.Serialize(state.Position),
            [PlannedKey] = state.LastPlanned.ToString(CultureInfo.InvariantCulture),
            [SliceKey] = string.Create(CultureInfo.InvariantCulture, $"{start},{count},{state.Parameters}"),
        };
        using var buffer = new MemoryStream();
        buffer.Write(stackalloc byte[sizeof(long)]);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WritePropertyName(MetadataKey);
            JsonSerializer.Serialize(json, all);
            for (int i = 0; i < order.Length; i++)
            {
                json.WriteStartObject(order[i].Name);
                json.WriteString("dtype", "F32");
                json.WritePropertyName("shape");
                JsonSerializer.Serialize(json, new[] { count });
                json.WritePropertyName("data_offsets");
                JsonSerializer.Serialize(json, new[] { i * count * sizeof(float), (i + 1) * count * sizeof(float) });
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (buffer.Length % 8 != 0)
        {
            buffer.WriteByte((byte)' '); // Aligns the data to 8 bytes.
        }

        byte[] header = buffer.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(header, header.Length - sizeof(long));
        return header;
    }
}

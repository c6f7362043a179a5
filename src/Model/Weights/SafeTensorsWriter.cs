// A writer of safetensors files, tensor by tensor. The bytes go to a temporary file beside the target, which is renamed
// only when it is complete and flushed to disk, so that no reader sees a partial file.
using System.Buffers.Binary;
using System.Text.Json;
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>
/// Writes one safetensors file: declare all tensors, append their bytes in <see cref="Order"/>, then commit. The order
/// depends only on names and types (wide elements first, so that all data is aligned; then by name), so equal tensors
/// give equal files.
/// </summary>
public sealed class SafeTensorsWriter : IDisposable
{
    private readonly string _path;
    private readonly string _partialPath;
    private readonly FileStream _stream;
    private int _current;
    private long _written;
    private bool _committed;

    /// <summary>Creates the file under a temporary name and writes its header.</summary>
    /// <param name="path">Final path of the file; an existing file is replaced at the commit.</param>
    /// <param name="tensors">All tensors, in any order.</param>
    /// <param name="metadata">Strings for the header.</param>
    /// <exception cref="ArgumentException">A name occurs twice or is reserved for metadata.</exception>
    public SafeTensorsWriter(
        string path, IEnumerable<TensorInfo> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        Order = [.. tensors.OrderByDescending(t => t.Type.Size()).ThenBy(t => t.Name, StringComparer.Ordinal)];
        var header = Header(Order, metadata);
        _path = path;
        _partialPath = $"{path}.{Guid.NewGuid():N}.partial";
        _stream = new FileStream(_partialPath, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        _stream.Write(header);
    }

    /// <summary>The order in which the tensors' bytes must be appended.</summary>
    public IReadOnlyList<TensorInfo> Order { get; }

    /// <summary>Appends bytes of a tensor; call it repeatedly until the tensor is complete.</summary>
    /// <exception cref="InvalidOperationException">Another tensor is next, or the tensor has fewer bytes.</exception>
    public void Append(string name, ReadOnlySpan<byte> bytes)
    {
        SkipFull();
        var due = _current < Order.Count ? Order[_current] : null;
        if (bytes.IsEmpty)
        {
            return;
        }

        if (due?.Name != name || bytes.Length > due.ByteLength - _written)
        {
            throw new InvalidOperationException(
                $"{_path}: {bytes.Length} bytes of \"{name}\" were appended while "
                + (due is null ? "all tensors are full." : $"{due.ByteLength - _written} of \"{due.Name}\" are due."));
        }

        _stream.Write(bytes);
        _written += bytes.Length;
    }

    /// <summary>Appends a whole tensor of any size, from any device.</summary>
    /// <param name="name">Name of the tensor in the file.</param>
    /// <param name="tensor">The tensor, in the type that was declared; it must be contiguous.</param>
    /// <exception cref="InvalidOperationException">Another tensor is next, or the tensor has fewer bytes.</exception>
    public void Append(string name, Tensor tensor)
    {
        foreach ((_, Tensor local) in TensorPieces.LocalOf(tensor))
        {
            Append(name, local.bytes);
        }
    }

    /// <summary>Flushes the bytes to disk and renames the file.</summary>
    /// <exception cref="InvalidOperationException">Bytes are still missing.</exception>
    public void Commit()
    {
        SkipFull();
        if (_current < Order.Count)
        {
            throw new InvalidOperationException($"{_path}: bytes of \"{Order[_current].Name}\" are still due.");
        }

        _stream.Flush(flushToDisk: true);
        _stream.Dispose();
        File.Move(_partialPath, _path, overwrite: true);
        _committed = true;
    }

    /// <summary>Deletes the file if it was not committed.</summary>
    public void Dispose()
    {
        _stream.Dispose();
        if (!_committed)
        {
            File.Delete(_partialPath);
        }
    }

    private void SkipFull()
    {
        while (_current < Order.Count && _written == Order[_current].ByteLength)
        {
            _current++;
            _written = 0;
        }
    }

    private static byte[] Header(IReadOnlyList<TensorInfo> order, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        buffer.Write(stackalloc byte[SafeTensorsHeader.LengthBytes]);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                WriteMetadata(json, metadata);
            }

            WriteEntries(json, order);
            json.WriteEndObject();
        }

        // Padding with spaces to a multiple of 8 keeps the data aligned.
        while (buffer.Length % 8 != 0)
        {
            buffer.WriteByte((byte)' ');
        }

        var header = buffer.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(header, header.Length - SafeTensorsHeader.LengthBytes);
        return header;
    }

    private static void WriteMetadata(Utf8JsonWriter json, IReadOnlyDictionary<string, string> metadata)
    {
        json.WriteStartObject(SafeTensorsHeader.MetadataKey);
        foreach (var (key, value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            json.WriteString(key, value);
        }

        json.WriteEndObject();
    }

    private static void WriteEntries(Utf8JsonWriter json, IReadOnlyList<TensorInfo> order)
    {
        var names = new HashSet<string>(StringComparer.Ordinal) { SafeTensorsHeader.MetadataKey };
        long offset = 0;
        foreach (var info in order)
        {
            if (!names.Add(info.Name))
            {
                throw new ArgumentException(
                    $"The tensor name \"{info.Name}\" is reserved or occurs twice.", nameof(order));
            }

            json.WriteStartObject(info.Name);
            json.WriteString("dtype", info.Type.Code());
            WriteNumbers(json, "shape", info.Shape);
            WriteNumbers(json, "data_offsets", offset, checked(offset += info.ByteLength));
            json.WriteEndObject();
        }
    }

    private static void WriteNumbers(Utf8JsonWriter json, string field, params ReadOnlySpan<long> numbers)
    {
        json.WriteStartArray(field);
        foreach (var number in numbers)
        {
            json.WriteNumberValue(number);
        }

        json.WriteEndArray();
    }
}

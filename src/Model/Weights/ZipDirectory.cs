// The directory of a zip file as written by PyTorch: records are stored, never compressed, so that a tensor is a plain
// range of the file. The layout follows PKWARE's APPNOTE 6.3, sections 4.3 (records) and 4.5.3 (64-bit sizes).
// Checksums are not verified: torch can be configured to omit them, and a model is checked by its digest.
using System.Buffers.Binary;
using System.Text;

namespace Atelier.Model.Weights;

/// <summary>The stored records of a zip file: their names and ranges.</summary>
internal sealed class ZipDirectory
{
    private const uint LocalSignature = 0x04034b50;
    private const uint EntrySignature = 0x02014b50;
    private const uint EndSignature = 0x06054b50;
    private const uint End64Signature = 0x06064b50;
    private const uint Locator64Signature = 0x07064b50;
    private const int LocalBytes = 30;
    private const int EntryBytes = 46;
    private const int EndBytes = 22;
    private const int End64Bytes = 56;
    private const int Locator64Bytes = 20;
    private const int MaxCommentBytes = ushort.MaxValue;
    private const int MaxDirectoryBytes = 64 << 20;
    private const int EncryptedFlag = 1;

    private readonly ByteSource _source;
    private readonly Dictionary<string, Record> _records = new(StringComparer.Ordinal);

    public ZipDirectory(ByteSource source)
    {
        _source = source;
        var (start, length, count) = FindDirectory();
        if (length > MaxDirectoryBytes)
        {
            throw source.Refuse("zip directory", $"has {length} bytes; at most {MaxDirectoryBytes} are allowed");
        }

        ReadOnlySpan<byte> rest = source.ReadArray(start, length, "zip directory");
        for (long i = 0; i < count; i++)
        {
            rest = rest[ReadEntry(rest, start)..];
        }
    }

    public IEnumerable<string> Names => _records.Keys;

    /// <summary>The range of a record's bytes in the file.</summary>
    public (long Start, long Length)? Find(string name)
    {
        if (!_records.TryGetValue(name, out var record))
        {
            return null;
        }

        var place = $"record {name}";
        Span<byte> local = stackalloc byte[LocalBytes];
        _source.Read(record.HeaderStart, local, place);
        var nameLength = BinaryPrimitives.ReadUInt16LittleEndian(local[26..]);
        var extraLength = BinaryPrimitives.ReadUInt16LittleEndian(local[28..]);
        var start = record.HeaderStart + LocalBytes + nameLength + extraLength;
        if (BinaryPrimitives.ReadUInt32LittleEndian(local) != LocalSignature
            || !_source.ReadArray(record.HeaderStart + LocalBytes, nameLength, place).SequenceEqual(record.Name))
        {
            throw _source.Refuse(place, $"its own header at byte {record.HeaderStart} does not match the directory");
        }

        if (start > record.Limit - record.Length)
        {
            throw _source.Refuse(place, $"its {record.Length} bytes from byte {start} run into the directory");
        }

        return (start, record.Length);
    }

    private (long Start, long Length, long Count) FindDirectory()
    {
        var tailLength = (int)Math.Min(_source.Length, EndBytes + MaxCommentBytes);
        var tailStart = _source.Length - tailLength;
        ReadOnlySpan<byte> tail = _source.ReadArray(tailStart, tailLength, "zip end");
        for (var at = tailLength - EndBytes; at >= 0; at--)
        {
            var end = tail[at..];
            if (BinaryPrimitives.ReadUInt32LittleEndian(end) == EndSignature
                && BinaryPrimitives.ReadUInt16LittleEndian(end[20..]) == end.Length - EndBytes)
            {
                return ReadEnd(end, tailStart + at);
            }
        }

        throw _source.Refuse("zip end", "there is no end-of-directory record: the file is truncated");
    }

    private (long Start, long Length, long Count) ReadEnd(ReadOnlySpan<byte> end, long endStart)
    {
        long count = BinaryPrimitives.ReadUInt16LittleEndian(end[10..]);
        long length = BinaryPrimitives.ReadUInt32LittleEndian(end[12..]);
        long start = BinaryPrimitives.ReadUInt32LittleEndian(end[16..]);
        if (count == ushort.MaxValue || length == uint.MaxValue || start == uint.MaxValue)
        {
            (start, length, count) = ReadEnd64(endStart);
        }

        if (start < 0 || length < 0 || start > endStart - length || count < 0 || count > length / EntryBytes)
        {
            throw _source.Refuse("zip end",
                $"{count} entries in {length} bytes from byte {start} are not inside the file");
        }

        return (start, length, count);
    }

    private (long Start, long Length, long Count) ReadEnd64(long endStart)
    {
        Span<byte> locator = stackalloc byte[Locator64Bytes];
        Span<byte> end = stackalloc byte[End64Bytes];
        _source.Read(endStart - Locator64Bytes, locator, "zip64 locator");
        if (BinaryPrimitives.ReadUInt32LittleEndian(locator) != Locator64Signature)
        {
            throw _source.Refuse("zip64 locator", "is missing");
        }

        _source.Read(BinaryPrimitives.ReadInt64LittleEndian(locator[8..]), end, "zip64 end");
        if (BinaryPrimitives.ReadUInt32LittleEndian(end) != End64Signature)
        {
            throw _source.Refuse("zip64 end", "is not where the locator says");
        }

        return (
            BinaryPrimitives.ReadInt64LittleEndian(end[48..]),
            BinaryPrimitives.ReadInt64LittleEndian(end[40..]),
            BinaryPrimitives.ReadInt64LittleEndian(end[32..]));
    }

    /// <summary>Reads the first entry in the remaining part of the directory.</summary>
    /// <returns>The entry's length.</returns>
    private int ReadEntry(ReadOnlySpan<byte> rest, long directoryStart)
    {
        if (rest.Length < EntryBytes || BinaryPrimitives.ReadUInt32LittleEndian(rest) != EntrySignature)
        {
            throw _source.Refuse("zip directory", $"entry {_records.Count} is damaged");
        }

        var flags = BinaryPrimitives.ReadUInt16LittleEndian(rest[8..]);
        var method = BinaryPrimitives.ReadUInt16LittleEndian(rest[10..]);
        long packedLength = BinaryPrimitives.ReadUInt32LittleEndian(rest[20..]);
        long length = BinaryPrimitives.ReadUInt32LittleEndian(rest[24..]);
        var nameLength = BinaryPrimitives.ReadUInt16LittleEndian(rest[28..]);
        var extraLength = BinaryPrimitives.ReadUInt16LittleEndian(rest[30..]);
        var commentLength = BinaryPrimitives.ReadUInt16LittleEndian(rest[32..]);
        long headerStart = BinaryPrimitives.ReadUInt32LittleEndian(rest[42..]);
        var entryLength = EntryBytes + nameLength + extraLength + commentLength;
        if (entryLength > rest.Length)
        {
            throw _source.Refuse("zip directory", $"entry {_records.Count} is truncated");
        }

        var nameBytes = rest.Slice(EntryBytes, nameLength);
        var name = Encoding.UTF8.GetString(nameBytes);
        var extra = rest.Slice(EntryBytes + nameLength, extraLength);
        Widen64(extra, name, ref length, ref packedLength, ref headerStart);
        if ((flags & EncryptedFlag) != 0 || method != 0 || packedLength != length)
        {
            throw _source.Refuse($"record {name}",
                "is compressed or encrypted, which PyTorch never does; repack it without compression");
        }

        if (length < 0 || headerStart < 0 || headerStart > directoryStart || length > directoryStart)
        {
            throw _source.Refuse($"record {name}", $"{length} bytes from byte {headerStart} are not inside the file");
        }

        if (!_records.TryAdd(name, new Record(nameBytes.ToArray(), headerStart, length, directoryStart)))
        {
            throw _source.Refuse($"record {name}", "occurs twice");
        }

        return entryLength;
    }

    /// <summary>Reads the sizes and offsets that do not fit into 32 bits from the entry's extra field.</summary>
    private void Widen64(
        ReadOnlySpan<byte> extra, string name, ref long length, ref long packedLength, ref long headerStart)
    {
        if (length != uint.MaxValue && packedLength != uint.MaxValue && headerStart != uint.MaxValue)
        {
            return;
        }

        while (extra.Length >= 4)
        {
            var id = BinaryPrimitives.ReadUInt16LittleEndian(extra);
            var size = Math.Min(BinaryPrimitives.ReadUInt16LittleEndian(extra[2..]), extra.Length - 4);
            var field = extra.Slice(4, size);
            extra = extra[(4 + size)..];
            if (id == 1)
            {
                Widen(ref field, name, ref length);
                Widen(ref field, name, ref packedLength);
                Widen(ref field, name, ref headerStart);
                return;
            }
        }

        throw _source.Refuse($"record {name}", "its 64-bit sizes are missing");
    }

    private void Widen(ref ReadOnlySpan<byte> field, string name, ref long number)
    {
        if (number != uint.MaxValue)
        {
            return;
        }

        if (field.Length < sizeof(long))
        {
            throw _source.Refuse($"record {name}", "its 64-bit sizes are truncated");
        }

        number = BinaryPrimitives.ReadInt64LittleEndian(field);
        field = field[sizeof(long)..];
    }

    private sealed record Record(byte[] Name, long HeaderStart, long Length, long Limit);
}

// A PNG (ISO/IEC 15948) writer for 8-bit RGB with text chunks. Users are guaranteed the same bytes for the same
// picture, so the bytes must not depend on the processor or the runtime. The compressor is therefore managed code at a
// pinned version; zlib-ng, which ZLibStream uses, does not guarantee stable output.
using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;
using System.Text;
using ICSharpCode.SharpZipLib.Zip.Compression;
using ICSharpCode.SharpZipLib.Zip.Compression.Streams;

namespace Atelier.Model.Imaging;

/// <summary>Writes PNG files with text chunks, and reads the text chunks of PNG files.</summary>
public static class Png
{
    /// <summary>Maximum bytes of one text in a file, compressed or not: 1 MiB.</summary>
    public const int TextBytesMax = 1 << 20;

    /// <summary>Maximum number of texts read from a file.</summary>
    public const int TextsMax = 64;

    private const int KeywordCharsMax = 79;
    private const int CompressionLevel = 4;
    private const int Pixel = 3;
    private const int Filters = 5;
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>
    /// Writes a picture. The bytes depend only on the arguments. Texts come before the pixels, so that they can be read
    /// from the head of a file.
    /// </summary>
    /// <param name="output">Receives the file; stays open.</param>
    /// <param name="rgb">Pixels, [height, width, 3].</param>
    /// <param name="width">Columns.</param>
    /// <param name="height">Rows.</param>
    /// <param name="texts">
    /// Text entries in order: a keyword of 1 to 79 printable Latin-1 characters, without leading, trailing or
    /// consecutive spaces, and any text up to <see cref="TextBytesMax"/> bytes of UTF-8. Written as uncompressed iTXt.
    /// </param>
    public static void Write(
        Stream output, ReadOnlySpan<byte> rgb, int width, int height, IEnumerable<(string Keyword, string Text)> texts)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(texts);
        RgbImage.CheckSize(rgb, width, height);
        var chunks = texts.Select(text => TextChunk(text.Keyword, text.Text)).ToList();
        ArgumentOutOfRangeException.ThrowIfGreaterThan(chunks.Count, TextsMax, nameof(texts));

        Span<byte> header = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], height);
        header[8] = 8;  // bits per channel
        header[9] = 2;  // RGB

        output.Write(Signature);
        WriteChunk(output, "IHDR"u8, header);
        foreach (var chunk in chunks)
        {
            WriteChunk(output, "iTXt"u8, chunk);
        }

        WriteChunk(output, "IDAT"u8, Compress(rgb, width * 3));
        WriteChunk(output, "IEND"u8, []);
    }

    /// <summary>
    /// Reads the iTXt and tEXt entries of a PNG file, in their order; every chunk's checksum is verified up to IEND.
    /// </summary>
    /// <param name="input">The file, from its first byte.</param>
    /// <param name="file">Name of the file, for error messages.</param>
    /// <exception cref="RefusedFileException">
    /// The file is not a PNG file or is damaged, or its texts exceed the limits.
    /// </exception>
    public static IReadOnlyList<(string Keyword, string Text)> ReadTexts(Stream input, string file = "PNG")
    {
        ArgumentNullException.ThrowIfNull(input);
        try
        {
            return ReadTexts(new ChunkReader(input));
        }
        catch (EndOfStreamException e)
        {
            throw new RefusedFileException(file, "end", "the file ends inside a chunk", e);
        }
        catch (Exception e) when (e is InvalidDataException or DecoderFallbackException)
        {
            throw new RefusedFileException(file, "chunks", e.Message, e);
        }
    }

    private static List<(string Keyword, string Text)> ReadTexts(ChunkReader chunks)
    {
        var texts = new List<(string, string)>();
        if (chunks.Next() != "IHDR")
        {
            throw new InvalidDataException("the first chunk is not IHDR");
        }

        for (string kind = chunks.Next(); kind != "IEND"; kind = chunks.Next())
        {
            if (kind is not ("iTXt" or "tEXt"))
            {
                continue;
            }

            if (texts.Count == TextsMax)
            {
                throw new InvalidDataException($"there are more than {TextsMax} text chunks");
            }

            var data = chunks.Data();
            texts.Add(kind == "iTXt" ? InternationalText(data) : LatinText(data));
        }

        chunks.Finish();
        return texts;
    }

    private static byte[] TextChunk(string keyword, string text)
    {
        bool legal = keyword.Length is >= 1 and <= KeywordCharsMax && keyword.Trim(' ') == keyword
            && !keyword.Contains("  ", StringComparison.Ordinal)
            && keyword.All(c => c is >= ' ' and <= '~' or >= '\u00A1' and <= '\u00FF');
        if (!legal)
        {
            throw new ArgumentException(
                $"'{keyword}' is not a PNG keyword; it must have 1 to {KeywordCharsMax} printable Latin-1 characters, "
                + "with only single spaces, and none at either end.",
                nameof(keyword));
        }

        // Keyword and its end, flag for uncompressed, method 0, empty language, empty translated keyword, text.
        byte[] data = [.. Encoding.Latin1.GetBytes(keyword), 0, 0, 0, 0, 0, .. Utf8.GetBytes(text)];
        ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, TextBytesMax, nameof(text));
        return data;
    }

    private static (string Keyword, string Text) LatinText(ReadOnlySpan<byte> data)
    {
        var keyword = CutField(ref data);
        return (Encoding.Latin1.GetString(keyword), Encoding.Latin1.GetString(data));
    }

    private static (string Keyword, string Text) InternationalText(ReadOnlySpan<byte> data)
    {
        var keyword = Encoding.Latin1.GetString(CutField(ref data));
        if (data.Length < 2 || data[0] > 1 || data[1] != 0)
        {
            throw new InvalidDataException("an iTXt chunk has an invalid compression flag or method");
        }

        bool compressed = data[0] == 1;
        data = data[2..];
        CutField(ref data);  // language
        CutField(ref data);  // translated keyword
        return (keyword, Utf8.GetString(compressed ? Inflate(data) : data));
    }

    private static ReadOnlySpan<byte> CutField(ref ReadOnlySpan<byte> data)
    {
        int end = data.IndexOf((byte)0);
        if (end < 0)
        {
            throw new InvalidDataException("a text chunk lacks the zero after a field");
        }

        var field = data[..end];
        data = data[(end + 1)..];
        return field;
    }

    private static byte[] Inflate(ReadOnlySpan<byte> data)
    {
        using var inflated = new ZLibStream(new MemoryStream(data.ToArray()), CompressionMode.Decompress);
        var text = new byte[TextBytesMax + 1];
        int length = inflated.ReadAtLeast(text, text.Length, throwOnEndOfStream: false);
        return length <= TextBytesMax
            ? text[..length]
            : throw new InvalidDataException($"a text is longer than {TextBytesMax} bytes");
    }

    private static void WriteChunk(Stream output, ReadOnlySpan<byte> kind, ReadOnlySpan<byte> data)
    {
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, data.Length);
        output.Write(number);
        output.Write(kind);
        output.Write(data);
        var crc = new Crc32();
        crc.Append(kind);
        crc.Append(data);
        BinaryPrimitives.WriteUInt32BigEndian(number, crc.GetCurrentHashAsUInt32());
        output.Write(number);
    }

    // Filtered pixels of photographs have few repetitions and compress better without a search for them; drawings have
    // many. Both ways are tried, and the shorter result is used.
    private static byte[] Compress(ReadOnlySpan<byte> rgb, int stride)
    {
        var rows = FilterRows(rgb, stride);
        var plain = Deflate(rows, DeflateStrategy.HuffmanOnly);
        var matched = Deflate(rows, DeflateStrategy.Default);
        return plain.Length < matched.Length ? plain : matched;
    }

    private static byte[] Deflate(byte[] bytes, DeflateStrategy strategy)
    {
        var deflater = new Deflater(CompressionLevel);
        deflater.SetStrategy(strategy);
        var compressed = new MemoryStream();
        using (var deflate = new DeflaterOutputStream(compressed, deflater))
        {
            deflate.Write(bytes);
        }

        return compressed.ToArray();
    }

    // [height, stride] -> [height, 1 + stride], each row preceded by its filter number
    private static byte[] FilterRows(ReadOnlySpan<byte> rgb, int stride)
    {
        // Rows are preceded by a black pixel, so that the first pixel's left neighbor needs no special case.
        byte[] above = new byte[Pixel + stride];
        byte[] row = new byte[Pixel + stride];
        byte[][] filtered = [.. Enumerable.Range(0, Filters).Select(_ => new byte[1 + stride])];
        var result = new byte[rgb.Length + (rgb.Length / stride)];
        for (int from = 0, to = 0; from < rgb.Length; from += stride, to += 1 + stride)
        {
            rgb.Slice(from, stride).CopyTo(row.AsSpan(Pixel));
            filtered[Filter(row, above, filtered)].CopyTo(result, to);
            (row, above) = (above, row);
        }

        return result;
    }

    // Applies all five filters and chooses one by the specification's heuristic: the filter whose output, read as
    // signed bytes, has the smallest sum of magnitudes; the first of them if several are equal.
    private static int Filter(byte[] row, byte[] above, byte[][] filtered)
    {
        Span<long> sums = stackalloc long[Filters];
        for (int filter = 0; filter < Filters; filter++)
        {
            var result = filtered[filter];
            result[0] = (byte)filter;
            for (int i = 1, at = Pixel; at < row.Length; i++, at++)
            {
                int left = row[at - Pixel];
                int up = above[at];
                int predicted = filter switch
                {
                    0 => 0,
                    1 => left,
                    2 => up,
                    3 => (left + up) / 2,
                    _ => Paeth(left, up, above[at - Pixel]),
                };
                result[i] = (byte)(row[at] - predicted);
                sums[filter] += Math.Abs((int)(sbyte)result[i]);
            }
        }

        int best = 0;
        for (int filter = 1; filter < Filters; filter++)
        {
            best = sums[filter] < sums[best] ? filter : best;
        }

        return best;
    }

    // The value among left, up and corner that is closest to left + up - corner; the first of them if several are
    // equal.
    private static int Paeth(int left, int up, int corner)
    {
        int byLeft = Math.Abs(up - corner);
        int byUp = Math.Abs(left - corner);
        int byCorner = Math.Abs(left + up - (2 * corner));
        return byLeft <= byUp && byLeft <= byCorner ? left : byUp <= byCorner ? up : corner;
    }

    // Iterates over the chunks. Memory: 64 KiB, plus a text's bytes while it is read.
    private sealed class ChunkReader
    {
        private readonly Stream _input;
        private readonly byte[] _buffer = new byte[1 << 16];
        private readonly Crc32 _crc = new();
        private long _left = -1;

        public ChunkReader(Stream input)
        {
            _input = input;
            var signature = _buffer.AsSpan(0, Signature.Length);
            if (input.ReadAtLeast(signature, signature.Length, throwOnEndOfStream: false) < signature.Length
                || !signature.SequenceEqual(Signature))
            {
                throw new InvalidDataException("the file does not begin with PNG's signature");
            }
        }

        // Skips the rest of the current chunk and reads the next one's length and kind.
        public string Next()
        {
            Finish();
            var head = _buffer.AsSpan(0, 8);
            _input.ReadExactly(head);
            _left = BinaryPrimitives.ReadUInt32BigEndian(head);
            if (_left > int.MaxValue)
            {
                throw new InvalidDataException($"a chunk claims {_left} bytes; the format's limit is {int.MaxValue}");
            }

            _crc.Append(head[4..]);
            return Encoding.Latin1.GetString(head[4..]);
        }

        // The current chunk's bytes.
        public byte[] Data()
        {
            if (_left > TextBytesMax)
            {
                throw new InvalidDataException($"a text has {_left} bytes; at most {TextBytesMax} are allowed");
            }

            var data = new byte[_left];
            _input.ReadExactly(data);
            _crc.Append(data);
            _left = 0;
            return data;
        }

        // Reads the current chunk to its end and compares the checksum.
        public void Finish()
        {
            if (_left < 0)
            {
                return;
            }

            while (_left > 0)
            {
                var part = _buffer.AsSpan(0, (int)Math.Min(_left, _buffer.Length));
                _input.ReadExactly(part);
                _crc.Append(part);
                _left -= part.Length;
            }

            uint computed = _crc.GetCurrentHashAsUInt32();
            _crc.Reset();
            _input.ReadExactly(_buffer.AsSpan(0, 4));
            if (BinaryPrimitives.ReadUInt32BigEndian(_buffer) != computed)
            {
                throw new InvalidDataException("a chunk's checksum does not match its bytes");
            }

            _left = -1;
        }
    }
}

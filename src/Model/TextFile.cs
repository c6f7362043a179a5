// Text files written by people: captions and configurations. Bytes that are not valid in the encoding are refused,
// because a replacement character would silently end up in training data or prompts.
using System.Buffers.Binary;
using System.Text;

namespace Atelier.Model;

/// <summary>Reads text files strictly.</summary>
public static class TextFile
{
    private const string Wanted = "save the file as UTF-8, or as UTF-16 or UTF-32 with a byte order mark.";

    // The byte order mark of UTF-32 starts with that of UTF-16, so UTF-32 comes first.
    private static readonly Encoding[] s_marked =
    [
        new UTF8Encoding(encoderShouldEmitUTF8Identifier: true, throwOnInvalidBytes: true),
        new UTF32Encoding(bigEndian: false, byteOrderMark: true, throwOnInvalidCharacters: true),
        new UTF32Encoding(bigEndian: true, byteOrderMark: true, throwOnInvalidCharacters: true),
        new UnicodeEncoding(bigEndian: false, byteOrderMark: true, throwOnInvalidBytes: true),
        new UnicodeEncoding(bigEndian: true, byteOrderMark: true, throwOnInvalidBytes: true),
    ];

    /// <summary>
    /// Reads a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; the mark is not part of the text.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="bytesMax">Maximum size in bytes.</param>
    /// <exception cref="RefusedFileException">
    /// The file is longer, or has bytes that are not valid; the message gives the position of the first.
    /// </exception>
    public static string Read(string path, int bytesMax)
    {
        if (new FileInfo(path).Length > bytesMax)
        {
            throw new RefusedFileException(path, "length", $"is above the maximum of {bytesMax} bytes.");
        }

        return Decode(File.ReadAllBytes(path), path);
    }

    /// <summary>Decodes the bytes of a file as <see cref="Read"/> does.</summary>
    internal static string Decode(byte[] bytes, string path)
    {
        Encoding encoding =
            s_marked.FirstOrDefault(marked => bytes.AsSpan().StartsWith(marked.Preamble)) ?? s_marked[0];
        int mark = bytes.AsSpan().StartsWith(encoding.Preamble) ? encoding.Preamble.Length : 0;
        string text;
        try
        {
            text = encoding.GetString(bytes, mark, bytes.Length - mark);
        }
        catch (DecoderFallbackException error)
        {
            int index = encoding is UnicodeEncoding utf16 ? FirstFault(bytes.AsSpan(mark), utf16) : error.Index;
            throw new RefusedFileException(
                path, $"byte {mark + index}",
                $"{Convert.ToHexString(error.BytesUnknown ?? [])} is not {encoding.WebName.ToUpperInvariant()}; "
                + Wanted,
                error);
        }

        // UTF-16 without a mark has zeros in every second byte.
        return text.IndexOf('\0', StringComparison.Ordinal) is >= 0 and var zero
            ? throw new RefusedFileException(
                path, $"byte {mark + encoding.GetByteCount(text.AsSpan(0, zero))}", $"00 is not text; {Wanted}")
            : text;
    }

    // For an unpaired surrogate, the exception gives the position after it.
    private static int FirstFault(ReadOnlySpan<byte> bytes, UnicodeEncoding encoding)
    {
        bool isBig = encoding.Preamble[0] == 0xFE;
        for (int at = 0; at + 1 < bytes.Length; at += 2)
        {
            char c = Char(bytes[at..]);
            if (!char.IsSurrogate(c))
            {
                continue;
            }

            if (char.IsLowSurrogate(c) || at + 3 >= bytes.Length || !char.IsLowSurrogate(Char(bytes[(at + 2)..])))
            {
                return at;
            }

            at += 2;
        }

        return bytes.Length & ~1; // The file ends inside a character.

        char Char(ReadOnlySpan<byte> two) => (char)(isBig
            ? BinaryPrimitives.ReadUInt16BigEndian(two) : BinaryPrimitives.ReadUInt16LittleEndian(two));
    }
}

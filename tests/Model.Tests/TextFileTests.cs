// Goal: a text file gives the text that was written, or is rejected with the byte at which it stops being text.
using System.Text;
using Xunit;

namespace Atelier.Model.Tests;

public sealed class TextFileTests
{
    private const string Words = "a café, 水, 🦊";

    public static TheoryData<string, byte[]> Written => new()
    {
        { "utf-8", Encoding.UTF8.GetBytes(Words) },
        { "utf-8 with its mark", [.. Encoding.UTF8.Preamble, .. Encoding.UTF8.GetBytes(Words)] },
        { "utf-16", [.. Encoding.Unicode.Preamble, .. Encoding.Unicode.GetBytes(Words)] },
        { "utf-16, big-endian", [.. Encoding.BigEndianUnicode.Preamble, .. Encoding.BigEndianUnicode.GetBytes(Words)] },
        { "utf-32", [.. Encoding.UTF32.Preamble, .. Encoding.UTF32.GetBytes(Words)] },
        { "utf-32, big-endian", [.. s_utf32.GetPreamble(), .. s_utf32.GetBytes(Words)] },
    };

    public static TheoryData<string, byte[], int> Spoiled => new()
    {
        { "Windows-1252", [.. "a caf"u8, 0xE9, .. " by night"u8], 5 },
        { "UTF-8 that is cut", [.. "a caf"u8, 0xC3], 5 },
        { "GBK", [.. "a "u8, 0xBA, 0xEC], 2 },
        { "half of a surrogate as UTF-8", [.. "a "u8, 0xED, 0xA0, 0x80], 2 },
        { "UTF-16 without its mark", Encoding.Unicode.GetBytes("a cat"), 1 },
        { "half of a surrogate as UTF-16", [0xFF, 0xFE, .. "a\0"u8, 0x00, 0xD8, .. "b\0"u8], 4 },
        { "the other half as UTF-16, big-endian", [0xFE, 0xFF, .. "\0a"u8, 0xDC, 0x00], 4 },
        { "UTF-16 that is cut", [0xFF, 0xFE, .. "a\0b"u8], 4 },
        { "UTF-32 beyond Unicode", [0xFF, 0xFE, 0, 0, .. "a\0\0\0"u8, 0xFF, 0xFF, 0xFF, 0x7F], 8 },
    };

    private static readonly UTF32Encoding s_utf32 = new(bigEndian: true, byteOrderMark: true);

    [Theory]
    [MemberData(nameof(Written))]
    public void Text_IsReadAsItWasWritten(string encoding, byte[] bytes) =>
        Assert.Equal((encoding, Words), (encoding, TextFile.Decode(bytes, "file")));

    [Theory]
    [MemberData(nameof(Spoiled))]
    public void Bytes_ThatAreNotText_AreRefusedByTheirPlace(string what, byte[] bytes, int place)
    {
        var refusal = Assert.Throws<RefusedFileException>(() => TextFile.Decode(bytes, "a.txt"));
        Assert.Equal((what, "a.txt", $"byte {place}"), (what, refusal.File, refusal.Place));
        Assert.Contains("save the file as UTF-8", refusal.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void FilesThatAreTooLong_AreRefused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["a.txt"], "four");
        Assert.Equal("four", TextFile.Read(folder["a.txt"], 4));
        Assert.Contains(
            "above the maximum of 3 bytes",
            Assert.Throws<RefusedFileException>(() => TextFile.Read(folder["a.txt"], 3)).Reason);
    }
}

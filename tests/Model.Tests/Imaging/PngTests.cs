// Goal: the PNG files written here contain the given pixels and texts for any reader, and their bytes never change.
// Method: Skia and this project's own reader read them back; a fixed picture's digest is pinned.
using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Imaging;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Imaging;

public sealed class PngTests
{
    private static readonly (string, string)[] Texts =
    [
        ("parameters", "a red fox\u2026 \U0001F98A\nSteps: 18"), ("parameters", ""),
        ("Title \u00fc", "null \0 inside"),
    ];

    [Fact]
    public void AnyPicture_IsReadBack_ByAnotherDecoder()
    {
        Gen.Select(Gen.Int[1, 40], Gen.Int[1, 40], Gen.Int[0, 3], Gen.Int).Sample((width, height, kind, seed) =>
        {
            var rgb = Picture(width, height, kind, seed);
            var image = ImageCodec.Decode(Write(rgb, width, height));
            Assert.Equal((width, height), (image.Width, image.Height));
            Assert.Equal(rgb, image.Pixels);
        }, iter: 300, threads: 1);
    }

    [Fact]
    public void Texts_AreReadBack_InOrder()
    {
        Assert.Equal(Texts, Png.ReadTexts(new MemoryStream(Write(Picture(5, 4, 1, 1), 5, 4, Texts))));
    }

    [Fact]
    public void Bytes_AreAFunctionOfTheArguments()
    {
        var rgb = Picture(97, 61, 2, 7);
        var file = Write(rgb, 97, 61, Texts);
        Assert.Equal(file, Write(rgb, 97, 61, Texts));

        // This digest is the same for every runtime and processor; if a new compressor changes it, tell the users.
        Assert.Equal(
            "9d6ff60927c44fcf13ff4bca183cddf8",
            Convert.ToHexStringLower(SHA256.HashData(file).AsSpan(0, 16)));
    }

    [Fact]
    public void Texts_StandBeforeThePixels()
    {
        string file = Encoding.Latin1.GetString(Write(Picture(5, 4, 1, 1), 5, 4, Texts));
        int text = file.LastIndexOf("iTXt", StringComparison.Ordinal);
        Assert.InRange(text, 0, file.IndexOf("IDAT", StringComparison.Ordinal));
    }

    [Fact]
    public void ForeignTexts_AreRead_PlainAndCompressed()
    {
        var long_ = new string('x', 5000);
        using var compressed = new MemoryStream();
        using (var zlib = new ZLibStream(compressed, CompressionLevel.Optimal, leaveOpen: true))
        {
            zlib.Write(Encoding.UTF8.GetBytes(long_));
        }

        byte[] plain = [.. "Comment\0caf"u8, 0xE9];
        byte[] packed = [.. "Long\0"u8, 1, 0, .. "en\0Lang\0"u8, .. compressed.ToArray()];
        byte[] other = [.. "ignored"u8];
        var file = Splice(("tEXt", plain), ("prVt", other), ("iTXt", packed));
        Assert.Equal([("Comment", "caf\u00e9"), ("Long", long_)], Png.ReadTexts(new MemoryStream(file)));
    }

    [Fact]
    public void TextBeyondTheLimits_IsRefused()
    {
        using var bomb = new MemoryStream();
        using (var zlib = new ZLibStream(bomb, CompressionLevel.Optimal, leaveOpen: true))
        {
            zlib.Write(new byte[Png.TextBytesMax + 1]);
        }

        AssertRefused(Splice(("iTXt", [.. "Bomb\0"u8, 1, 0, 0, 0, .. bomb.ToArray()])), "longer");
        AssertRefused(Splice(("tEXt", new byte[Png.TextBytesMax + 1])), "at most");
        AssertRefused(Splice([.. Enumerable.Repeat(("tEXt", "a\0b"u8.ToArray()), Png.TextsMax + 1)]), "more than");
        var rgb = new byte[3];
        Assert.Throws<ArgumentOutOfRangeException>(
            () => Png.Write(Stream.Null, rgb, 1, 1, [("a", new string('x', Png.TextBytesMax))]));
        Assert.Throws<ArgumentOutOfRangeException>(
            () => Png.Write(Stream.Null, rgb, 1, 1, Enumerable.Repeat(("a", "b"), Png.TextsMax + 1)));
    }

    [Theory]
    [InlineData("tEXt", "no end")]
    [InlineData("iTXt", "key\0")]
    [InlineData("iTXt", "key\0\u0002\0\0\0text")]
    [InlineData("iTXt", "key\0\0\u0001\0\0text")]
    [InlineData("iTXt", "key\0\0\0en")]
    [InlineData("iTXt", "key\0\0\0\0\0\u00ff")]
    [InlineData("iTXt", "key\0\u0001\0\0\0no zlib")]
    public void MalformedText_IsRefused(string kind, string data) =>
        AssertRefused(Splice((kind, Encoding.Latin1.GetBytes(data))), "");

    [Fact]
    public void Damage_IsRefused()
    {
        var file = Write(Picture(5, 4, 1, 1), 5, 4, Texts);
        AssertRefused([], "signature");
        AssertRefused([.. "GIF89a, or so"u8], "signature");
        AssertRefused(file[..8], "ends");
        for (int at = 0; at < file.Length; at++)
        {
            // A single changed bit anywhere is noticed, and so is a truncated file.
            var altered = file.ToArray();
            altered[at] ^= (byte)(1 << (at % 8));
            AssertRefused(altered, "");
            AssertRefused(file[..at], "");
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData(" a")]
    [InlineData("a ")]
    [InlineData("a  b")]
    [InlineData("a\0")]
    [InlineData("\u4e00")]
    [InlineData("12345678901234567890123456789012345678901234567890123456789012345678901234567890")]
    public void IllegalKeyword_IsRefused(string keyword) =>
        Assert.Throws<ArgumentException>(() => Png.Write(Stream.Null, new byte[3], 1, 1, [(keyword, "")]));

    [Fact]
    public void WrongSizes_AreRefused()
    {
        Assert.Throws<ArgumentException>(() => Png.Write(Stream.Null, new byte[11], 2, 2, []));
        Assert.Throws<ArgumentOutOfRangeException>(() => Png.Write(Stream.Null, [], 0, 2, []));
        Assert.ThrowsAny<ArgumentException>(() => Png.Write(Stream.Null, new byte[3], 1, 1, [("a", "\ud800")]));
    }

    // Kinds: noise, one color, gradients with noise, stripes.
    internal static byte[] Picture(int width, int height, int kind, int seed)
    {
        var random = new Random(seed);
        var color = random.Next();
        var rgb = new byte[width * height * 3];
        for (int i = 0; i < rgb.Length; i++)
        {
            int x = i / 3 % width;
            int y = i / 3 / width;
            rgb[i] = kind switch
            {
                0 => (byte)random.Next(256),
                1 => (byte)(color >> (8 * (i % 3))),
                2 => (byte)((x * 3) + (y * 2) + (i % 3 * 40) + random.Next(4)),
                _ => (byte)(x % 2 == 0 ? 255 : y),
            };
        }

        return rgb;
    }

    internal static byte[] Write(byte[] rgb, int width, int height, IEnumerable<(string, string)>? texts = null)
    {
        using var file = new MemoryStream();
        Png.Write(file, rgb, width, height, texts ?? []);
        return file.ToArray();
    }

    private static void AssertRefused(byte[] file, string reason)
    {
        var refusal = Assert.Throws<RefusedFileException>(() => Png.ReadTexts(new MemoryStream(file), "a.png"));
        Assert.StartsWith("a.png: ", refusal.Message, StringComparison.Ordinal);
        Assert.Contains(reason, refusal.Reason, StringComparison.Ordinal);
    }

    // A picture with additional chunks after its header.
    private static byte[] Splice(params (string Kind, byte[] Data)[] chunks)
    {
        const int headEnd = 8 + 12 + 13;
        var file = Write(new byte[3], 1, 1);
        var middle = chunks.SelectMany(chunk =>
        {
            byte[] body = [.. Encoding.ASCII.GetBytes(chunk.Kind), .. chunk.Data];
            byte[] all = [0, 0, 0, 0, .. body, 0, 0, 0, 0];
            BinaryPrimitives.WriteInt32BigEndian(all, chunk.Data.Length);
            BinaryPrimitives.WriteUInt32BigEndian(all.AsSpan(all.Length - 4), Crc32.HashToUInt32(body));
            return all;
        });
        return [.. file[..headEnd], .. middle, .. file[headEnd..]];
    }
}

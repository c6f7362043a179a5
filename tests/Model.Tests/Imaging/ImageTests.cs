// Goal: pictures are decoded and resized as Pillow does it for CLIP and for the data sets. Method: Pillow's own results
// (vectors), and properties that hold for any picture.
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Atelier.Model.Imaging;
using CsCheck;
using SkiaSharp;
using Xunit;

namespace Atelier.Model.Tests.Imaging;

public sealed class ImageTests
{
    private const int Side = 56;

    [Theory]
    [InlineData("40x60")]
    [InlineData("33x20")]
    [InlineData("56x56")]
    [InlineData("120x90")]
    public void Resizing_IsPillows(string name)
    {
        var image = Input(name);
        var actual = ImageResize.Bicubic(image.Pixels, image.Width, image.Height, Side, Side);
        var expected = Vector("expected", $"{name}/resized_hwc").Data;
        Assert.Equal(expected.Length, actual.Length);
        int[] differences = [.. expected.Zip(actual, (e, a) => Math.Abs(e - a))];
        Assert.Equal(0, differences.Max());  // The vectors require 1 at most, and equality for 98 %.
    }

    [Theory]
    [InlineData("40x60")]
    [InlineData("33x20")]
    [InlineData("56x56")]
    [InlineData("120x90")]
    public void ClipInput_IsTheReferences(string name)
    {
        var expected = MemoryMarshal.Cast<byte, float>(Vector("expected", $"{name}/tensor_chw").Data).ToArray();
        var actual = ClipPreprocess.Run(Input(name), Side);
        Assert.Equal(expected.Length, actual.Length);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-6f));
    }

    [Fact]
    public void Resizing_KeepsOneColor_AndTheSameSize()
    {
        Gen.Select(Gen.Int[1, 50], Gen.Int[1, 50], Gen.Int[1, 50], Gen.Int[1, 50], Gen.Int).Sample(
            (width, height, targetWidth, targetHeight, seed) =>
            {
                var noise = PngTests.Picture(width, height, 0, seed);
                Assert.Equal(noise, ImageResize.Bicubic(noise, width, height, width, height));
                var plain = PngTests.Picture(width, height, 1, seed);
                var resized = ImageResize.Bicubic(plain, width, height, targetWidth, targetHeight);
                Assert.Equal(3 * targetWidth * targetHeight, resized.Length);
                Assert.All(resized.Index(), value => Assert.Equal(plain[value.Index % 3], value.Item));
            },
            iter: 200, threads: 1);
    }

    [Fact]
    public void WrongSizes_AreRefused()
    {
        Assert.Throws<ArgumentException>(() => ImageResize.Bicubic(new byte[10], 2, 2, 4, 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => ImageResize.Bicubic(new byte[12], 2, 2, 0, 4));
        Assert.Throws<ArgumentOutOfRangeException>(
            () => ImageResize.Bicubic(new byte[12], 2, 2, 4, ImageCodec.SideMax + 1));
        Assert.Throws<ArgumentException>(() => new RgbImage(2, 2, new byte[3]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public void Orientation_OfExif_IsApplied(int orientation)
    {
        foreach (bool isLittle in new[] { true, false })
        {
            (byte[] png, RgbImage upright) = OrientedPictures.Png(orientation, isLittle);
            AssertEqual(upright, ImageCodec.DecodeUpright(png), tolerance: 0);
            Assert.Equal(5, ImageCodec.Decode(png).Width); // As stored.
        }

        // Each corner has its own color, and lossy formats preserve smooth gradients.
        byte[] slopes =
            [.. Enumerable.Range(0, 64 * 48).SelectMany(i => (byte[])[(byte)(i % 64 * 4), (byte)(i / 64 * 5), 128])];
        var image = new RgbImage(64, 48, slopes);
        RgbImage expected = OrientedPictures.Upright(image, orientation);
        AssertEqual(expected, ImageCodec.DecodeUpright(OrientedPictures.Jpeg(image, orientation)), tolerance: 24);
        AssertEqual(expected, ImageCodec.DecodeUpright(OrientedPictures.Webp(image, orientation)), tolerance: 24);
    }

    // Missing or invalid orientations leave the picture as it is.
    [Fact]
    public void Orientation_ThatCannotBeRead_IsUpright()
    {
        (byte[] png, _) = OrientedPictures.Png(orientation: 6);
        RgbImage stored = ImageCodec.Decode(png);
        int exif = png.AsSpan().IndexOf("eXIf"u8) + 4, crc = exif + 38;
        Gen.Select(Gen.Int[0, 37], Gen.Byte).Sample(
            (at, value) =>
            {
                byte[] damaged = [.. png];
                damaged[exif + at] = value;
                BinaryPrimitives.WriteUInt32BigEndian(
                    damaged.AsSpan(crc), System.IO.Hashing.Crc32.HashToUInt32(damaged.AsSpan(exif - 4, 42)));
                RgbImage read = ImageCodec.DecodeUpright(damaged);
                Assert.Equal(stored.Pixels.Order(), read.Pixels.Order());
            },
            iter: 500, threads: 1);
        (byte[] none, _) = OrientedPictures.Png(orientation: 9);
        Assert.Equal(ImageCodec.Decode(none).Pixels, ImageCodec.DecodeUpright(none).Pixels);
    }

    [Fact]
    public void LossyFormats_ComeBackAlmostEqual()
    {
        var rgb = PngTests.Picture(64, 48, 1, 5);
        var image = new RgbImage(64, 48, rgb);
        foreach (var encoded in new[] { ImageCodec.EncodeJpeg(image, 95), ImageCodec.EncodeWebp(image, 95) })
        {
            Assert.Equal((64, 48), ImageCodec.ReadSize(encoded));
            var decoded = ImageCodec.Decode(encoded);
            Assert.Equal((64, 48), (decoded.Width, decoded.Height));
            Assert.All(rgb.Zip(decoded.Pixels), pair => Assert.InRange(pair.First - pair.Second, -3, 3));
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => ImageCodec.EncodeJpeg(image, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => ImageCodec.EncodeWebp(image, 101));
    }

    [Fact]
    public void Alpha_IsDropped_WithoutBlending()
    {
        var info = new SKImageInfo(3, 1, SKColorType.Rgba8888, SKAlphaType.Unpremul);
        using var bitmap = new SKBitmap(info);
        byte[] rgba = [200, 100, 50, 255, 200, 100, 50, 128, 200, 100, 50, 1];
        Marshal.Copy(rgba, 0, bitmap.GetPixels(), rgba.Length);
        using var png = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        Assert.Equal([200, 100, 50, 200, 100, 50, 200, 100, 50], ImageCodec.Decode(png.ToArray()).Pixels);
    }

    [Fact]
    public void OtherAndDamagedPictures_AreRefused()
    {
        var png = PngTests.Write(PngTests.Picture(30, 30, 0, 1), 30, 30);
        var jpeg = ImageCodec.EncodeJpeg(Input("40x60"), 90);
        byte[] gif =
            [.. "GIF89a"u8, 1, 0, 1, 0, 0, 0, 0, (byte)',', 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, (byte)';'];
        foreach (var encoded in new[] { [], [1, 2, 3], gif, png[..(png.Length / 2)], jpeg[..(jpeg.Length / 2)] })
        {
            var refusal = Assert.Throws<RefusedFileException>(() => ImageCodec.Decode(encoded, "upload"));
            Assert.StartsWith("upload: ", refusal.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(20_000, 1)]
    [InlineData(16_384, 16_384)]
    [InlineData(int.MaxValue, int.MaxValue)]
    public void PictureBeyondTheLimits_IsRefused_BeforeMemoryIsTaken(int width, int height)
    {
        // The size is in the header, whose checksum is recomputed.
        var png = PngTests.Write(new byte[3], 1, 1);
        BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(16), width);
        BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(20), height);
        BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(29), System.IO.Hashing.Crc32.HashToUInt32(png.AsSpan(12, 17)));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<RefusedFileException>(() => ImageCodec.Decode(png));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    private static RgbImage Input(string name)
    {
        var (shape, data) = Vector("inputs", $"{name}/image_hwc");
        return new RgbImage(shape[1], shape[0], data);
    }

    // One tensor of a safetensors file.
    private static (int[] Shape, byte[] Data) Vector(string file, string name)
    {
        var bytes = File.ReadAllBytes(ReferenceData.At("clip", "preprocess", $"{file}.safetensors"));
        int header = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var entry = JsonSerializer.Deserialize<JsonElement>(bytes.AsSpan(8, header)).GetProperty(name);
        var range = entry.GetProperty("data_offsets").Deserialize<int[]>()!;
        var data = bytes.AsSpan(8 + header)[range[0]..range[1]];
        return (entry.GetProperty("shape").Deserialize<int[]>()!, data.ToArray());
    }

    private static void AssertEqual(RgbImage expected, RgbImage actual, int tolerance)
    {
        Assert.Equal((expected.Width, expected.Height), (actual.Width, actual.Height));
        Assert.InRange(expected.Pixels.Zip(actual.Pixels, (e, a) => Math.Abs(e - a)).Max(), 0, tolerance);
    }
}

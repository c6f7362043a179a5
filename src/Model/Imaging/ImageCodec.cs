// Reading and writing of the lossy and foreign picture formats, through Skia. The PNG files that this project hands out
// are written by Png, whose bytes do not depend on a native library's version.
using SkiaSharp;

namespace Atelier.Model.Imaging;

/// <summary>Decodes JPEG, PNG and WebP to RGB, and encodes JPEG and WebP.</summary>
public static class ImageCodec
{
    /// <summary>The longest side that is decoded, in pixels.</summary>
    public const int SideMax = 16_384;

    /// <summary>The most pixels that are decoded: 64 Mi, so at most 448 MiB of work memory.</summary>
    public const long PixelsMax = 1L << 26;

    /// <summary>Reads the size from the header, in pixels, without decoding anything.</summary>
    /// <param name="encoded">A whole JPEG, PNG or WebP file.</param>
    /// <param name="file">What an error calls the source.</param>
    /// <exception cref="RefusedFileException">It is another format, damaged, or larger than the limits.</exception>
    public static (int Width, int Height) ReadSize(ReadOnlySpan<byte> encoded, string file = "image")
    {
        using var codec = Open(encoded, file);
        return (codec.Info.Width, codec.Info.Height);
    }

    /// <summary>
    /// Decodes a picture. Alpha is dropped without blending, colour profiles and EXIF orientation are ignored, as
    /// Pillow's <c>convert("RGB")</c> does.
    /// </summary>
    /// <param name="encoded">A whole JPEG, PNG or WebP file.</param>
    /// <param name="file">What an error calls the source.</param>
    /// <exception cref="RefusedFileException">It is another format, damaged, or larger than the limits.</exception>
    public static RgbImage Decode(ReadOnlySpan<byte> encoded, string file = "image")
    {
        using var codec = Open(encoded, file);
        return Decode(codec, file);
    }

    /// <summary>
    /// Decodes a picture as <see cref="Decode(ReadOnlySpan{byte}, string)"/> does and turns it as its EXIF orientation
    /// says, so that it is what viewers show.
    /// </summary>
    /// <param name="encoded">A whole JPEG, PNG or WebP file.</param>
    /// <param name="file">What an error calls the source.</param>
    /// <exception cref="RefusedFileException">It is another format, damaged, or larger than the limits.</exception>
    public static RgbImage DecodeUpright(ReadOnlySpan<byte> encoded, string file = "image")
    {
        using var codec = Open(encoded, file);

        // Skia's numbers are EXIF's.
        int orientation = codec.EncodedFormat == SKEncodedImageFormat.Png
            ? Orientation.OfPng(encoded) : (int)codec.EncodedOrigin;
        return Orientation.Apply(Decode(codec, file), orientation);
    }

    private static RgbImage Decode(SKCodec codec, string file)
    {
        var (width, height) = (codec.Info.Width, codec.Info.Height);
        var rgba = new byte[4L * width * height];
        unsafe
        {
            fixed (byte* pixels = rgba)
            {
                // No colour space is given, so none is converted to.
                var info = new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
                var result = codec.GetPixels(info, (nint)pixels);
                if (result != SKCodecResult.Success)
                {
                    throw new RefusedFileException(file, "pixels", $"the picture does not decode ({result})");
                }
            }
        }

        var rgb = new byte[3 * width * height];
        for (int from = 0, to = 0; to < rgb.Length; from += 4, to += 3)
        {
            rgb[to] = rgba[from];
            rgb[to + 1] = rgba[from + 1];
            rgb[to + 2] = rgba[from + 2];
        }

        return new RgbImage(width, height, rgb);
    }

    /// <summary>Encodes as JPEG with halved chroma. <paramref name="quality"/> is 1 to 100.</summary>
    public static byte[] EncodeJpeg(RgbImage image, int quality)
    {
        CheckQuality(quality);
        var options = new SKJpegEncoderOptions(
            quality, SKJpegEncoderDownsample.Downsample420, SKJpegEncoderAlphaOption.Ignore);
        return Encode(image, pixmap => pixmap.Encode(options));
    }

    /// <summary>Encodes as lossy WebP. <paramref name="quality"/> is 1 to 100.</summary>
    public static byte[] EncodeWebp(RgbImage image, int quality)
    {
        CheckQuality(quality);
        var options = new SKWebpEncoderOptions(SKWebpEncoderCompression.Lossy, quality);
        return Encode(image, pixmap => pixmap.Encode(options));
    }

    private static void CheckQuality(int quality)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(quality, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(quality, 100);
    }

    private static SKCodec Open(ReadOnlySpan<byte> encoded, string file)
    {
        using var data = SKData.CreateCopy(encoded);  // The codec holds it too.
        var codec = SKCodec.Create(data)
            ?? throw new RefusedFileException(file, "header", "this is no JPEG, PNG or WebP picture");
        var (format, width, height) = (codec.EncodedFormat, codec.Info.Width, codec.Info.Height);
        if (format is not (SKEncodedImageFormat.Jpeg or SKEncodedImageFormat.Png or SKEncodedImageFormat.Webp))
        {
            codec.Dispose();
            throw new RefusedFileException(file, "header", $"{format} is not read; JPEG, PNG and WebP are");
        }

        if (width is < 1 or > SideMax || height is < 1 or > SideMax || (long)width * height > PixelsMax)
        {
            codec.Dispose();
            throw new RefusedFileException(
                file, "header",
                $"{width} x {height} pixels; at most {SideMax} a side and {PixelsMax} together are decoded");
        }

        return codec;
    }

    private static byte[] Encode(RgbImage image, Func<SKPixmap, SKData?> encode)
    {
        ArgumentNullException.ThrowIfNull(image);
        var rgbx = new byte[4L * image.Width * image.Height];
        for (int from = 0, to = 0; from < image.Pixels.Length; from += 3, to += 4)
        {
            image.Pixels.AsSpan(from, 3).CopyTo(rgbx.AsSpan(to));
            rgbx[to + 3] = byte.MaxValue;
        }

        unsafe
        {
            fixed (byte* pixels = rgbx)
            {
                var info = new SKImageInfo(image.Width, image.Height, SKColorType.Rgba8888, SKAlphaType.Opaque);
                using var pixmap = new SKPixmap(info, (nint)pixels);
                using var data = encode(pixmap)
                    ?? throw new ArgumentException(
                        $"{image.Width} x {image.Height} pixels do not fit this format.", nameof(image));
                return data.ToArray();
            }
        }
    }
}

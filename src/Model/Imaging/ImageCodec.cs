// Pictures are read, and the lossy formats written, through Skia. PNG files are written by Png instead, so that their
// bytes do not depend on the version of a native library.
using SkiaSharp;

namespace Atelier.Model.Imaging;

/// <summary>Decodes JPEG, PNG and WebP to RGB, and encodes JPEG and WebP.</summary>
public static class ImageCodec
{
    /// <summary>Maximum width and height of a picture that is decoded, in pixels.</summary>
    public const int SideMax = 16_384;

    /// <summary>
    /// Maximum number of pixels in a picture that is decoded: 64 Mi, which take at most 448 MiB of working memory.
    /// </summary>
    public const long PixelsMax = 1L << 26;

    /// <summary>Reads the size from the header, in pixels, without decoding anything.</summary>
    /// <param name="encoded">A whole JPEG, PNG or WebP file.</param>
    /// <param name="file">Name of the source, for error messages.</param>
    /// <exception cref="RefusedFileException">
    /// The picture is damaged, has another format, or exceeds the limits.
    /// </exception>
    public static (int Width, int Height) ReadSize(ReadOnlySpan<byte> encoded, string file = "image")
    {
        using var codec = Open(encoded, file);
        return (codec.Info.Width, codec.Info.Height);
    }

    /// <summary>
    /// Decodes a picture. Alpha is dropped without blending, and color profiles and EXIF orientation are ignored, as
    /// Pillow's <c>convert("RGB")</c> does.
    /// </summary>
    /// <param name="encoded">A whole JPEG, PNG or WebP file.</param>
    /// <param name="file">Name of the source, for error messages.</param>
    /// <exception cref="RefusedFileException">
    /// The picture is damaged, has another format, or exceeds the limits.
    /// </exception>
    public static RgbImage Decode(ReadOnlySpan<byte> encoded, string file = "image")
    {
        using var codec = Open(encoded, file);
        return Decode(codec, file);
    }

    /// <summary>
    /// Decodes a picture as <see cref="Decode(ReadOnlySpan{byte}, string)"/> does and applies its EXIF orientation, as
    /// viewers do.
    /// </summary>
    /// <param name="encoded">A whole JPEG, PNG or WebP file.</param>
    /// <param name="file">Name of the source, for error messages.</param>
    /// <exception cref="RefusedFileException">
    /// The picture is damaged, has another format, or exceeds the limits.
    /// </exception>
    public static RgbImage DecodeUpright(ReadOnlySpan<byte> encoded, string file = "image")
    {
        using var codec = Open(encoded, file);

        // Skia numbers orientations as EXIF does.
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
                // Without a color space, Skia does not convert colors.
                var info = new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
                var result = codec.GetPixels(info, (nint)pixels);
                if (result != SKCodecResult.Success)
                {
                    throw new RefusedFileException(file, "pixels", $"the picture cannot be decoded ({result})");
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

    /// <summary>Encodes as JPEG, with chroma at half the resolution. <paramref name="quality"/> is 1 to 100.</summary>
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
        using var data = SKData.CreateCopy(encoded);  // The codec holds a reference too.
        var codec = SKCodec.Create(data)
            ?? throw new RefusedFileException(file, "header", "this is not a JPEG, PNG or WebP picture");
        var (format, width, height) = (codec.EncodedFormat, codec.Info.Width, codec.Info.Height);
        if (format is not (SKEncodedImageFormat.Jpeg or SKEncodedImageFormat.Png or SKEncodedImageFormat.Webp))
        {
            codec.Dispose();
            throw new RefusedFileException(file, "header", $"{format} is not supported; use JPEG, PNG or WebP");
        }

        if (width is < 1 or > SideMax || height is < 1 or > SideMax || (long)width * height > PixelsMax)
        {
            codec.Dispose();
            throw new RefusedFileException(
                file, "header",
                $"{width} x {height} pixels; at most {SideMax} per side and {PixelsMax} in total are allowed");
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

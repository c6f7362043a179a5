// Pictures with an orientation tag, in all formats that are read.
using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using Atelier.Model.Imaging;

namespace Atelier.Model.Tests.Imaging;

internal static class OrientedPictures
{
    /// <summary>A noisy PNG file with an eXIf chunk, and the picture that a viewer shows of it.</summary>
    public static (byte[] File, RgbImage Upright) Png(int orientation, bool isLittle = true)
    {
        (int width, int height) = (5, 3);
        byte[] pixels = PngTests.Picture(width, height, 0, 1), exif = Exif(orientation, isLittle);
        using var stream = new MemoryStream();
        Model.Imaging.Png.Write(stream, pixels, width, height, []);
        byte[] png = stream.ToArray(), kind = "eXIf"u8.ToArray(), numbers = new byte[8];
        BinaryPrimitives.WriteInt32BigEndian(numbers, exif.Length);
        BinaryPrimitives.WriteUInt32BigEndian(numbers.AsSpan(4), Crc32.HashToUInt32([.. kind, .. exif]));
        const int afterHeader = 8 + 25;
        return (
            [.. png[..afterHeader], .. numbers[..4], .. kind, .. exif, .. numbers[4..], .. png[afterHeader..]],
            Upright(new RgbImage(width, height, pixels), orientation));
    }

    /// <summary>A JPEG file of a picture with an orientation.</summary>
    public static byte[] Jpeg(RgbImage image, int orientation)
    {
        byte[] jpeg = ImageCodec.EncodeJpeg(image, 95), exif = [.. "Exif\0\0"u8, .. Exif(orientation)];
        return [.. jpeg[..2], 0xFF, 0xE1, 0, (byte)(2 + exif.Length), .. exif, .. jpeg[2..]];
    }

    /// <summary>A WebP file of a picture with an orientation.</summary>
    public static byte[] Webp(RgbImage image, int orientation)
    {
        byte[] webp = ImageCodec.EncodeWebp(image, 95), exif = Exif(orientation);
        byte[] size = [.. BitConverter.GetBytes(image.Width - 1)[..3], .. BitConverter.GetBytes(image.Height - 1)[..3]];
        byte[] body =
        [
            .. "WEBPVP8X"u8, .. BitConverter.GetBytes(10), 8, 0, 0, 0, .. size, .. webp[12..],
            .. "EXIF"u8, .. BitConverter.GetBytes(exif.Length), .. exif,
        ];
        return [.. Encoding.ASCII.GetBytes("RIFF"), .. BitConverter.GetBytes(body.Length), .. body];
    }

    /// <summary>
    /// The picture that a viewer shows, by the standard's definition: where row 0 and column 0 appear.
    /// </summary>
    public static RgbImage Upright(RgbImage stored, int orientation)
    {
        (string row0, string column0) = orientation switch
        {
            1 => ("top", "left"),
            2 => ("top", "right"),
            3 => ("bottom", "right"),
            4 => ("bottom", "left"),
            5 => ("left", "top"),
            6 => ("right", "top"),
            7 => ("right", "bottom"),
            _ => ("left", "bottom"),
        };
        bool isOnItsSide = row0 is "left" or "right";
        (int width, int height) = isOnItsSide ? (stored.Height, stored.Width) : (stored.Width, stored.Height);
        var pixels = new byte[stored.Pixels.Length];
        for (int row = 0; row < stored.Height; row++)
        {
            for (int column = 0; column < stored.Width; column++)
            {
                int down = row0 is "top" or "left" ? row : stored.Height - 1 - row;
                int along = column0 is "top" or "left" ? column : stored.Width - 1 - column;
                (int x, int y) = isOnItsSide ? (down, along) : (along, down);
                int from = ((row * stored.Width) + column) * 3, to = ((y * width) + x) * 3;
                stored.Pixels.AsSpan(from, 3).CopyTo(pixels.AsSpan(to));
            }
        }

        return new RgbImage(width, height, pixels);
    }

    // A TIFF header and a directory of two entries, the second of which is the orientation.
    private static byte[] Exif(int orientation, bool isLittle = true)
    {
        byte[] little =
        [
            .. "II"u8, 42, 0, 8, 0, 0, 0, 2, 0, 0x00, 0x01, 3, 0, 1, 0, 0, 0, 7, 0, 0, 0,
            0x12, 0x01, 3, 0, 1, 0, 0, 0, (byte)orientation, 0, 0, 0, 0, 0, 0, 0,
        ];
        byte[] big =
        [
            .. "MM"u8, 0, 42, 0, 0, 0, 8, 0, 2, 0x01, 0x00, 0, 3, 0, 0, 0, 1, 0, 7, 0, 0,
            0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, (byte)orientation, 0, 0, 0, 0, 0, 0,
        ];
        return isLittle ? little : big;
    }
}

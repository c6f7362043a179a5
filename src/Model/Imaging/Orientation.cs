// EXIF orientation. Cameras store pictures as the sensor saw them and record in EXIF how the camera was held.
using System.Buffers.Binary;

namespace Atelier.Model.Imaging;

/// <summary>EXIF's orientations, 1 to 8, of which 1 is upright.</summary>
internal static class Orientation
{
    /// <summary>The orientation of a picture that is shown as stored.</summary>
    public const int Upright = 1;

    private const int FirstOnItsSide = 5;
    private const int Last = 8;

    /// <summary>Turns a picture upright, as viewers do. Orientations 5 to 8 exchange rows and columns.</summary>
    /// <param name="stored">The picture as it is stored.</param>
    /// <param name="orientation">1 to 8.</param>
    public static RgbImage Apply(RgbImage stored, int orientation)
    {
        if (orientation == Upright)
        {
            return stored;
        }

        (int right, int bottom) = (stored.Width - 1, stored.Height - 1);
        (int width, int height) = orientation >= FirstOnItsSide
            ? (stored.Height, stored.Width) : (stored.Width, stored.Height);
        var pixels = new byte[stored.Pixels.Length];
        for (int y = 0, to = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++, to += 3)
            {
                (int column, int row) = orientation switch
                {
                    2 => (right - x, y),
                    3 => (right - x, bottom - y),
                    4 => (x, bottom - y),
                    5 => (y, x),
                    6 => (y, bottom - x),
                    7 => (right - y, bottom - x),
                    _ => (right - y, x),
                };
                stored.Pixels.AsSpan(((row * stored.Width) + column) * 3, 3).CopyTo(pixels.AsSpan(to));
            }
        }

        return new RgbImage(width, height, pixels);
    }

    /// <summary>
    /// The orientation in a PNG file's eXIf chunk, which Skia does not read; upright if it is missing or unreadable.
    /// </summary>
    public static int OfPng(ReadOnlySpan<byte> file)
    {
        const int signature = 8, frame = 12; // A chunk's length, kind and checksum.
        for (long at = signature; at + frame <= file.Length;)
        {
            ReadOnlySpan<byte> chunk = file[(int)at..];
            uint length = BinaryPrimitives.ReadUInt32BigEndian(chunk);
            if (chunk[4..8].SequenceEqual("eXIf"u8))
            {
                return length <= chunk.Length - frame ? OfExif(chunk.Slice(8, (int)length)) : Upright;
            }

            at += frame + (long)length;
        }

        return Upright;
    }

    // EXIF is a TIFF header, an offset, and a directory of entries of 12 bytes: tag, type, count and value.
    private static int OfExif(ReadOnlySpan<byte> exif)
    {
        const int entryBytes = 12;
        const ushort orientationTag = 0x0112, shortType = 3;
        bool isLittle = exif.StartsWith("II*\0"u8);
        if (exif.Length < 8 || !(isLittle || exif.StartsWith("MM\0*"u8)))
        {
            return Upright;
        }

        uint directory = isLittle
            ? BinaryPrimitives.ReadUInt32LittleEndian(exif[4..]) : BinaryPrimitives.ReadUInt32BigEndian(exif[4..]);
        if (directory > exif.Length - 2)
        {
            return Upright;
        }

        int entries = Short(exif[(int)directory..]);
        ReadOnlySpan<byte> rest = exif[((int)directory + 2)..];
        for (; entries > 0 && rest.Length >= entryBytes; entries--, rest = rest[entryBytes..])
        {
            if (Short(rest) == orientationTag)
            {
                int value = Short(rest[2..]) == shortType ? Short(rest[8..]) : Upright;
                return value is >= Upright and <= Last ? value : Upright;
            }
        }

        return Upright;

        ushort Short(ReadOnlySpan<byte> bytes) => isLittle
            ? BinaryPrimitives.ReadUInt16LittleEndian(bytes) : BinaryPrimitives.ReadUInt16BigEndian(bytes);
    }
}

namespace Atelier.Model.Imaging;

/// <summary>A picture: 8 bits per channel, red, green, blue; rows from the top, without padding.</summary>
public sealed class RgbImage
{
    /// <summary>Takes over <paramref name="pixels"/>, [height, width, 3].</summary>
    /// <exception cref="ArgumentException">The sides are not positive or do not fit the number of bytes.</exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        CheckSize(pixels, width, height);
        Width = width;
        Height = height;
        Pixels = pixels;
    }

    /// <summary>Columns.</summary>
    public int Width { get; }

    /// <summary>Rows.</summary>
    public int Height { get; }

    /// <summary>The channels' values, [Height, Width, 3].</summary>
    public byte[] Pixels { get; }

    internal static void CheckSize(ReadOnlySpan<byte> rgb, int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        if (rgb.Length != 3L * width * height)
        {
            throw new ArgumentException(
                $"{rgb.Length} bytes were given; {width} x {height} pixels of RGB take {3L * width * height}.",
                nameof(rgb));
        }
    }
}

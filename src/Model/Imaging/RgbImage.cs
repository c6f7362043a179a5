namespace Atelier.Model.Imaging;

/// <summary>
/// A picture with 8 bits per channel, in the order red, green, blue. Rows run from top to bottom, without padding.
/// </summary>
public sealed class RgbImage
{
    /// <summary>Takes ownership of <paramref name="pixels"/>, [height, width, 3].</summary>
    /// <exception cref="ArgumentException">
    /// Width or height is not positive, or they do not match the number of bytes.
    /// </exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        CheckSize(pixels, width, height);
        Width = width;
        Height = height;
        Pixels = pixels;
    }

    /// <summary>Width in pixels.</summary>
    public int Width { get; }

    /// <summary>Height in pixels.</summary>
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
                $"{width} x {height} pixels of RGB take {3L * width * height} bytes, not {rgb.Length}.",
                nameof(rgb));
        }
    }
}

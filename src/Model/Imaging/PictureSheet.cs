// Contact sheets, which show many pictures in one.
namespace Atelier.Model.Imaging;

/// <summary>Joins pictures into sheets.</summary>
public static class PictureSheet
{
    private const int Gap = 4;
    private const byte Paper = 255;

    /// <summary>Joins pictures of one size row by row, separated by thin white lines.</summary>
    /// <param name="pictures">At least one picture.</param>
    /// <param name="columns">Pictures per row.</param>
    /// <exception cref="ArgumentException">There is no picture, or they differ in size.</exception>
    public static RgbImage Join(IReadOnlyList<RgbImage> pictures, int columns)
    {
        ArgumentNullException.ThrowIfNull(pictures);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        if (pictures.Count == 0)
        {
            throw new ArgumentException("A sheet needs at least one picture.", nameof(pictures));
        }

        (int width, int height) = (pictures[0].Width, pictures[0].Height);
        columns = Math.Min(columns, pictures.Count);
        int rows = (pictures.Count + columns - 1) / columns;
        (int sheetWidth, int sheetHeight) = ((columns * (width + Gap)) - Gap, (rows * (height + Gap)) - Gap);
        var pixels = new byte[3 * sheetWidth * sheetHeight];
        Array.Fill(pixels, Paper);
        for (int i = 0; i < pictures.Count; i++)
        {
            if ((pictures[i].Width, pictures[i].Height) != (width, height))
            {
                throw new ArgumentException(
                    $"Picture {i} has {pictures[i].Width} x {pictures[i].Height} pixels, but the first has "
                    + $"{width} x {height}.",
                    nameof(pictures));
            }

            (int row, int column) = Math.DivRem(i, columns);
            for (int y = 0; y < height; y++)
            {
                int at = (((row * (height + Gap)) + y) * sheetWidth) + (column * (width + Gap));
                pictures[i].Pixels.AsSpan(3 * y * width, 3 * width).CopyTo(pixels.AsSpan(3 * at));
            }
        }

        return new RgbImage(sheetWidth, sheetHeight, pixels);
    }
}

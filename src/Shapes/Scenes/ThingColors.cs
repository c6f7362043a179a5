// The colors of things as sRGB values, and which pairs of them are distinct.
namespace Atelier.Shapes.Scenes;

/// <summary>Colors of things.</summary>
public static class ThingColors
{
    // Minimum Euclidean distance between distinct colors, with sRGB values from 0 to 255.
    private const double Apart = 150;

    private static readonly (byte Red, byte Green, byte Blue)[] s_values =
    [
        (216, 36, 42), (250, 138, 24), (252, 216, 44), (34, 150, 66), (40, 92, 222),
        (134, 58, 186), (250, 128, 182), (122, 72, 38), (28, 28, 32), (252, 252, 250),
    ];

    /// <summary>The sRGB values of a color.</summary>
    public static (byte Red, byte Green, byte Blue) Of(ThingColor color) => s_values[(int)color];

    /// <summary>Whether one color is clearly visible on the other.</summary>
    public static bool AreDistinct(ThingColor a, ThingColor b)
    {
        ((byte Red, byte Green, byte Blue) p, (byte Red, byte Green, byte Blue) q) = (Of(a), Of(b));
        (double red, double green, double blue) = (p.Red - q.Red, p.Green - q.Green, p.Blue - q.Blue);
        return (red * red) + (green * green) + (blue * blue) >= Apart * Apart;
    }
}

// The colours of the demo world. Things are vivid, black or white; backgrounds are muted and of middle lightness, or
// night.
using SkiaSharp;

namespace Atelier.Shapes.Drawing;

/// <summary>Colours of things, tones of backgrounds, and how they are lightened and darkened.</summary>
public static class Palette
{
    // Two colours part well if they are this far apart in the cube of 256 values a side.
    private const double Apart = 150;

    private static readonly SKColor[] s_things =
    [
        new(216, 36, 42), new(250, 138, 24), new(252, 216, 44), new(34, 150, 66), new(40, 92, 222),
        new(134, 58, 186), new(250, 128, 182), new(122, 72, 38), new(28, 28, 32), new(252, 252, 250),
    ];

    private static readonly SKColor[] s_tones =
    [
        new(214, 202, 176), new(178, 198, 178), new(176, 192, 210), new(192, 184, 208),
        new(212, 186, 184), new(190, 190, 186), new(166, 196, 196), new(212, 194, 166),
    ];

    /// <summary>The dark of contours.</summary>
    internal static SKColor Ink { get; } = new(36, 30, 42);

    /// <summary>The pale of contours around black things, and of rims at night.</summary>
    internal static SKColor Cream { get; } = new(242, 236, 214);

    /// <summary>A colour of things.</summary>
    public static SKColor Of(ThingColor color) => s_things[(int)color];

    /// <summary>Whether one colour stands out before the other.</summary>
    public static bool PartWell(ThingColor a, ThingColor b)
    {
        (SKColor p, SKColor q) = (Of(a), Of(b));
        (double red, double green, double blue) = (p.Red - q.Red, p.Green - q.Green, p.Blue - q.Blue);
        return (red * red) + (green * green) + (blue * blue) >= Apart * Apart;
    }

    internal static int Tones => s_tones.Length;

    internal static SKColor Tone(int number) => s_tones[number];

    /// <summary>Towards black for a negative amount, towards white for a positive one; 1 arrives there.</summary>
    internal static SKColor Shade(SKColor color, double amount) =>
        amount < 0 ? Mix(color, SKColors.Black, -amount) : Mix(color, SKColors.White, amount);

    internal static SKColor Mix(SKColor from, SKColor to, double part) => new(
        Between(from.Red, to.Red, part), Between(from.Green, to.Green, part), Between(from.Blue, to.Blue, part));

    private static byte Between(byte from, byte to, double part) => (byte)Math.Round(from + ((to - from) * part));
}

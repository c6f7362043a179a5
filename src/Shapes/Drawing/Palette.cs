// The colors of the demo world. Things are vivid, black or white. Backgrounds are muted and of medium lightness, except
// the night sky.
using Atelier.Shapes.Scenes;
using SkiaSharp;

namespace Atelier.Shapes.Drawing;

/// <summary>Colors of things, tones of backgrounds, and shading.</summary>
public static class Palette
{
    private static readonly SKColor[] s_tones =
    [
        new(214, 202, 176), new(178, 198, 178), new(176, 192, 210), new(192, 184, 208),
        new(212, 186, 184), new(190, 190, 186), new(166, 196, 196), new(212, 194, 166),
    ];

    /// <summary>The dark color of contours.</summary>
    internal static SKColor Ink { get; } = new(36, 30, 42);

    /// <summary>The pale color of contours around black things, and of rims at night.</summary>
    internal static SKColor Cream { get; } = new(242, 236, 214);

    /// <summary>The pixel value of a thing's color.</summary>
    public static SKColor Of(ThingColor color)
    {
        (byte red, byte green, byte blue) = ThingColors.Of(color);
        return new SKColor(red, green, blue);
    }

    internal static int Tones => s_tones.Length;

    internal static SKColor Tone(int number) => s_tones[number];

    /// <summary>
    /// Mixes a color with black for a negative amount, with white for a positive one; ±1 gives black or white.
    /// </summary>
    internal static SKColor Shade(SKColor color, double amount) =>
        amount < 0 ? Mix(color, SKColors.Black, -amount) : Mix(color, SKColors.White, amount);

    internal static SKColor Mix(SKColor from, SKColor to, double part) => new(
        Between(from.Red, to.Red, part), Between(from.Green, to.Green, part), Between(from.Blue, to.Blue, part));

    private static byte Between(byte from, byte to, double part) => (byte)Math.Round(from + ((to - from) * part));
}

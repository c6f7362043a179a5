// The strokes of the painterly style: they follow a flow field with a few vortices, and each has the color of the area
// that it covers. There are many short strokes, so they are written directly to the pixels.
using Atelier.Shapes.Scenes;
using SkiaSharp;

namespace Atelier.Shapes.Drawing;

/// <summary>RGBA pixels, 8 bits per channel, [side, side, 4].</summary>
internal readonly ref struct Pixels(Span<byte> rgba, int side)
{
    public Span<byte> Rgba { get; } = rgba;

    public int Side { get; } = side;

    public Span<byte> At(int column, int row) => Rgba.Slice(4 * ((row * Side) + column), 4);
}

/// <summary>A flow field over the picture, and strokes along it.</summary>
internal sealed class Brush
{
    private const int Whirls = 4;

    private readonly (double X, double Y, double Turn, double Reach)[] _whirls;
    private readonly DrawStream _draw;
    private readonly double _slope;

    public Brush(uint detail)
    {
        _draw = new DrawStream(detail, Purpose.Strokes, 0);
        _slope = _draw.Between(-0.6, 0.6);
        _whirls = new (double, double, double, double)[Whirls];
        for (int i = 0; i < Whirls; i++)
        {
            double turn = _draw.Chance(0.5) ? 1 : -1;
            _whirls[i] = (_draw.Next(), _draw.Next(), turn, _draw.Between(0.12, 0.24));
        }
    }

    /// <summary>Covers an area with strokes about a step apart.</summary>
    /// <param name="canvas">The picture.</param>
    /// <param name="mask">Red channel: 255 where strokes are visible, 0 where they are not.</param>
    /// <param name="sketch">The picture from which the strokes take their colors.</param>
    /// <param name="area">The area, in fractions of the side.</param>
    /// <param name="step">Distance and width of the strokes.</param>
    /// <param name="contrast">How much lighter or darker strokes are than the picture; 1 is strong.</param>
    public void Cover(Pixels canvas, Pixels mask, Pixels sketch, SKRect area, double step, double contrast)
    {
        int columns = (int)Math.Ceiling(area.Width / step), rows = (int)Math.Ceiling(area.Height / step);
        for (int i = 0; i < rows * columns; i++)
        {
            (int row, int column) = Math.DivRem(i, columns);
            double x = area.Left + ((column + _draw.Next()) * step), y = area.Top + ((row + _draw.Next()) * step);
            (double alongX, double alongY) = Current(x, y);
            int sketchX = Math.Clamp((int)(x * sketch.Side), 0, sketch.Side - 1);
            int sketchY = Math.Clamp((int)(y * sketch.Side), 0, sketch.Side - 1);
            Span<byte> under = sketch.At(sketchX, sketchY);
            var color = new SKColor(under[0], under[1], under[2]);
            color = Palette.Shade(color, contrast * _draw.Between(-0.18, 0.24));
            double half = step * _draw.Between(0.7, 1.3);
            Stroke(canvas, mask, (x, y), (alongX * half, alongY * half), 0.34 * step, color);
        }
    }

    // Draws a line with round ends. A pixel's coverage is the fraction of it that is within the radius.
    private static void Stroke(
        Pixels canvas, Pixels mask, (double X, double Y) center, (double X, double Y) half, double radius,
        SKColor color)
    {
        double scale = canvas.Side, reachX = Math.Abs(half.X) + radius, reachY = Math.Abs(half.Y) + radius;
        int left = Math.Max(0, (int)((center.X - reachX) * scale) - 1);
        int top = Math.Max(0, (int)((center.Y - reachY) * scale) - 1);
        int right = Math.Min(canvas.Side - 1, (int)((center.X + reachX) * scale) + 1);
        int bottom = Math.Min(canvas.Side - 1, (int)((center.Y + reachY) * scale) + 1);
        double squared = (half.X * half.X) + (half.Y * half.Y);
        for (int row = top; row <= bottom; row++)
        {
            for (int column = left; column <= right; column++)
            {
                double dx = ((column + 0.5) / scale) - center.X, dy = ((row + 0.5) / scale) - center.Y;
                double along = Math.Clamp(((dx * half.X) + (dy * half.Y)) / squared, -1, 1);
                (dx, dy) = (dx - (along * half.X), dy - (along * half.Y));
                double cover = ((radius - Math.Sqrt((dx * dx) + (dy * dy))) * scale) + 0.5;
                if (cover > 0)
                {
                    int weight = (int)(Math.Min(cover, 1) * mask.At(column, row)[0]);
                    Blend(canvas.At(column, row), color, weight);
                }
            }
        }
    }

    private static void Blend(Span<byte> pixel, SKColor color, int weight)
    {
        pixel[0] = (byte)(((pixel[0] * (255 - weight)) + (color.Red * weight) + 127) / 255);
        pixel[1] = (byte)(((pixel[1] * (255 - weight)) + (color.Green * weight) + 127) / 255);
        pixel[2] = (byte)(((pixel[2] * (255 - weight)) + (color.Blue * weight) + 127) / 255);
    }

    // Unit direction of the flow: a slope, plus a rotation around each vortex that fades with the distance.
    private (double X, double Y) Current(double x, double y)
    {
        (double right, double down) = (1, _slope * Math.Sin(3 * x));
        foreach ((double centerX, double centerY, double turn, double reach) in _whirls)
        {
            (double fromX, double fromY) = (x - centerX, y - centerY);
            double distance = Math.Sqrt((fromX * fromX) + (fromY * fromY)) + 1e-6;
            double strength = 4 * turn * Math.Exp(-distance * distance / (2 * reach * reach));
            right -= strength * fromY / distance;
            down += strength * fromX / distance;
        }

        double length = Math.Sqrt((right * right) + (down * down)) + 1e-6;
        return (right / length, down / length);
    }
}

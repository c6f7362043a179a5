// Backgrounds, drawn into the unit square.
using Atelier.Shapes.Scenes;
using SkiaSharp;

namespace Atelier.Shapes.Drawing;

/// <summary>Draws backgrounds. The detail seed determines tones, directions and small details.</summary>
internal static class Backdrop
{
    private static readonly SKRect s_all = new(0, 0, 1, 1);

    public static void Draw(SKCanvas canvas, SKPaint paint, Background background, uint detail)
    {
        var draw = new DrawStream(detail, Purpose.Backdrop, 0);
        paint.Style = SKPaintStyle.Fill;
        int first = draw.Below(Palette.Tones), second = (first + 1 + draw.Below(Palette.Tones - 1)) % Palette.Tones;
        (SKColor a, SKColor b) = (Palette.Tone(first), Palette.Tone(second));
        switch (background)
        {
            case Background.Plain:
                Fill(canvas, paint, s_all, a);
                break;
            case Background.Gradient:
                Gradient(canvas, paint, draw, Palette.Shade(a, 0.35), Palette.Shade(b, -0.25));
                break;
            case Background.Stripes:
                Stripes(canvas, paint, draw, Palette.Shade(a, 0.15), Palette.Shade(b, -0.2));
                break;
            case Background.Checkerboard:
                Checkerboard(canvas, paint, draw, Palette.Shade(a, 0.15), Palette.Shade(b, -0.2));
                break;
            case Background.NightSky:
                Night(canvas, paint, draw);
                break;
            case Background.Meadow:
                Meadow(canvas, paint, draw);
                break;
            default:
                Sea(canvas, paint, draw);
                break;
        }
    }

    private static void Gradient(SKCanvas canvas, SKPaint paint, DrawStream draw, SKColor from, SKColor to)
    {
        (SKPoint start, SKPoint end) = draw.Below(4) switch
        {
            0 => (new SKPoint(0, 0), new SKPoint(0, 1)),
            1 => (new SKPoint(0, 1), new SKPoint(0, 0)),
            2 => (new SKPoint(0, 0), new SKPoint(1, 1)),
            _ => (new SKPoint(0, 0), new SKPoint(1, 0)),
        };
        Blend(canvas, paint, s_all, start, end, from, to);
    }

    private static void Stripes(SKCanvas canvas, SKPaint paint, DrawStream draw, SKColor a, SKColor b)
    {
        Fill(canvas, paint, s_all, a);
        int pairs = 3 + draw.Below(2);
        float angle = 45 * draw.Below(4);
        float width = 1f / (2 * pairs);
        canvas.Save();
        canvas.RotateDegrees(angle, 0.5f, 0.5f);
        for (int i = -pairs; i < 2 * pairs; i++)
        {
            Fill(canvas, paint, new SKRect(2 * i * width, -1, ((2 * i) + 1) * width, 2), b);
        }

        canvas.Restore();
    }

    private static void Checkerboard(SKCanvas canvas, SKPaint paint, DrawStream draw, SKColor a, SKColor b)
    {
        Fill(canvas, paint, s_all, a);
        int count = draw.Chance(0.5) ? 4 : 6;
        float side = 1f / count;
        for (int i = 0; i < count * count; i++)
        {
            (int row, int column) = Math.DivRem(i, count);
            if ((row + column) % 2 == 0)
            {
                Fill(canvas, paint, SKRect.Create(column * side, row * side, side, side), b);
            }
        }
    }

    private static void Night(SKCanvas canvas, SKPaint paint, DrawStream draw)
    {
        Blend(
            canvas, paint, s_all, new SKPoint(0, 0), new SKPoint(0, 1),
            new SKColor(16, 20, 56), new SKColor(52, 54, 108));
        for (int i = 0; i < 34; i++)
        {
            paint.Color = Palette.Shade(Palette.Cream, -draw.Between(0, 0.4));
            canvas.DrawCircle((float)draw.Next(), (float)draw.Next(), (float)draw.Between(0.005, 0.012), paint);
        }
    }

    private static void Meadow(SKCanvas canvas, SKPaint paint, DrawStream draw)
    {
        Sky(canvas, paint);
        float horizon = (float)draw.Between(0.45, 0.62);
        Hill(canvas, paint, draw, horizon - 0.07f, new SKColor(164, 190, 138));
        Hill(canvas, paint, draw, horizon + 0.03f, new SKColor(148, 180, 116));
        paint.Style = SKPaintStyle.Stroke;
        paint.StrokeWidth = 0.014f;
        paint.Color = new SKColor(122, 156, 92);
        for (int i = 0; i < 26; i++)
        {
            (float x, float y) = ((float)draw.Next(), (float)draw.Between(horizon + 0.1, 1));
            float lean = (float)draw.Between(-0.015, 0.015);
            canvas.DrawLine(x, y, x + lean, y - 0.04f, paint);
        }
    }

    private static void Hill(SKCanvas canvas, SKPaint paint, DrawStream draw, float top, SKColor color)
    {
        float left = top + (float)draw.Between(-0.05, 0.05), right = top + (float)draw.Between(-0.05, 0.05);
        using var path = new SKPath();
        path.MoveTo(0, 1);
        path.LineTo(0, left);
        path.CubicTo(0.3f, left - 0.06f, 0.7f, right + 0.06f, 1, right);
        path.LineTo(1, 1);
        path.Close();
        paint.Color = color;
        canvas.DrawPath(path, paint);
    }

    private static void Sea(SKCanvas canvas, SKPaint paint, DrawStream draw)
    {
        Sky(canvas, paint);
        float horizon = (float)draw.Between(0.35, 0.5);
        Blend(
            canvas, paint, new SKRect(0, horizon, 1, 1), new SKPoint(0, horizon), new SKPoint(0, 1),
            new SKColor(136, 178, 196), new SKColor(96, 146, 176));
        paint.Style = SKPaintStyle.Stroke;
        paint.StrokeWidth = 0.018f;
        paint.Color = new SKColor(186, 214, 222);
        for (float y = horizon + 0.08f; y < 1; y += 0.115f)
        {
            Wave(canvas, paint, y, (float)draw.Between(0, 0.2));
        }
    }

    private static void Wave(SKCanvas canvas, SKPaint paint, float y, float phase)
    {
        using var path = new SKPath();
        path.MoveTo(-phase, y);
        for (int i = 0; i < 6; i++)
        {
            path.RQuadTo(0.05f, -0.035f, 0.1f, 0);
            path.RQuadTo(0.05f, 0.035f, 0.1f, 0);
        }

        canvas.DrawPath(path, paint);
    }

    private static void Sky(SKCanvas canvas, SKPaint paint) => Blend(
        canvas, paint, s_all, new SKPoint(0, 0), new SKPoint(0, 0.7f),
        new SKColor(152, 186, 214), new SKColor(190, 206, 212));

    private static void Fill(SKCanvas canvas, SKPaint paint, SKRect area, SKColor color)
    {
        paint.Color = color;
        canvas.DrawRect(area, paint);
    }

    private static void Blend(
        SKCanvas canvas, SKPaint paint, SKRect area, SKPoint from, SKPoint to, SKColor start, SKColor end)
    {
        using SKShader shader = SKShader.CreateLinearGradient(from, to, [start, end], null, SKShaderTileMode.Clamp);
        paint.Shader = shader;
        paint.Color = SKColors.Black;
        canvas.DrawRect(area, paint);
        paint.Shader = null;
    }
}

// The shapes of the twelve kinds of things, in a square from -0.5 to 0.5.
using Atelier.Shapes.Scenes;
using SkiaSharp;

namespace Atelier.Shapes.Drawing;

/// <summary>The coloring of a part of a thing.</summary>
internal enum Tint
{
    /// <summary>The thing's main color.</summary>
    Main,

    /// <summary>A darker shade of the main color; for black, a lighter one.</summary>
    Dark,

    /// <summary>A much darker shade of the main color; for black, a lighter one.</summary>
    Deep,

    /// <summary>A lit window.</summary>
    Window,

    /// <summary>Wood, which is darker than the crown of a brown tree.</summary>
    Wood,

    /// <summary>The center of a flower: yellow, or brown if the thing's color is close to yellow.</summary>
    Pollen,

    /// <summary>The white of an eye.</summary>
    White,

    /// <summary>The pupil of an eye.</summary>
    Pupil,
}

/// <summary>A kind's shape: colored parts, from back to front, and their common outline.</summary>
internal sealed class Figure(SKPath silhouette, params (SKPath Path, Tint Tint)[] parts) : IDisposable
{
    public SKPath Silhouette { get; } = silhouette;

    public (SKPath Path, Tint Tint)[] Parts { get; } = parts;

    /// <summary>The shapes of all kinds, in the order of the kinds' values.</summary>
    public static Figure[] All() => [.. Enum.GetValues<ThingKind>().Select(Of)];

    public static Figure Of(ThingKind kind) => kind switch
    {
        ThingKind.Circle => Simple(Oval(0, 0, 0.485, 0.485)),
        ThingKind.Square => Simple(Box(-0.42, -0.42, 0.42, 0.42)),
        ThingKind.Triangle => Simple(Polygon((0, -0.46), (0.5, 0.42), (-0.5, 0.42))),
        ThingKind.Star => Simple(Star(0.52, 0.23)),
        ThingKind.Heart => Simple(Heart()),
        ThingKind.Ring => Simple(Join(SKPathOp.Difference, Oval(0, 0, 0.485, 0.485), Oval(0, 0, 0.31, 0.31))),
        ThingKind.Cross => Simple(
            Join(SKPathOp.Union, Box(-0.16, -0.46, 0.16, 0.46), Box(-0.46, -0.16, 0.46, 0.16))),
        ThingKind.Moon => Simple(Join(SKPathOp.Difference, Oval(0.02, 0, 0.48, 0.48), Oval(0.27, -0.09, 0.37, 0.37))),
        ThingKind.House => House(),
        ThingKind.Tree => Tree(),
        ThingKind.Flower => Flower(),
        ThingKind.Fish => Fish(),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "Unknown kind of thing."),
    };

    public static SKColor Color(Tint tint, ThingColor color) => tint switch
    {
        Tint.Main => Palette.Of(color),
        Tint.Dark => Palette.Shade(Palette.Of(color), color == ThingColor.Black ? 0.22 : -0.3),
        Tint.Deep => Palette.Shade(Palette.Of(color), color == ThingColor.Black ? 0.4 : -0.55),
        Tint.Window => new SKColor(255, 240, 170),
        Tint.Wood => new SKColor(84, 54, 34),
        Tint.Pollen when color is ThingColor.Yellow or ThingColor.Orange => new SKColor(110, 66, 34),
        Tint.Pollen => new SKColor(252, 214, 60),
        Tint.White => new SKColor(250, 250, 250),
        _ => new SKColor(20, 20, 24),
    };

    public void Dispose()
    {
        Silhouette.Dispose();
        foreach ((SKPath path, _) in Parts)
        {
            path.Dispose();
        }
    }

    private static Figure Simple(SKPath path) => new(path, (new SKPath(path), Tint.Main));

    private static Figure House()
    {
        SKPath walls = Box(-0.37, -0.06, 0.37, 0.47), roof = Polygon((0, -0.49), (0.5, 0), (-0.5, 0));
        return new Figure(
            Join(SKPathOp.Union, new SKPath(walls), new SKPath(roof)),
            (walls, Tint.Main), (roof, Tint.Dark), (Box(-0.1, 0.15, 0.1, 0.47), Tint.Deep),
            (Box(-0.3, 0.07, -0.15, 0.22), Tint.Window), (Box(0.15, 0.07, 0.3, 0.22), Tint.Window));
    }

    private static Figure Tree()
    {
        SKPath trunk = Box(-0.085, 0.1, 0.085, 0.49);
        SKPath crown = Join(
            SKPathOp.Union, Oval(0, -0.22, 0.28, 0.28),
            Join(SKPathOp.Union, Oval(-0.2, 0, 0.25, 0.22), Oval(0.2, 0, 0.25, 0.22)));
        return new Figure(
            Join(SKPathOp.Union, new SKPath(trunk), new SKPath(crown)), (trunk, Tint.Wood), (crown, Tint.Main));
    }

    private static Figure Flower()
    {
        SKPath petals = Petal(0);
        for (int i = 1; i < 6; i++)
        {
            petals = Join(SKPathOp.Union, petals, Petal(i));
        }

        return new Figure(petals, (new SKPath(petals), Tint.Main), (Oval(0, 0, 0.15, 0.15), Tint.Pollen));

        static SKPath Petal(int number)
        {
            (double sine, double cosine) = Math.SinCos(number * Math.PI / 3);
            return Oval(0.3 * sine, -0.3 * cosine, 0.18, 0.18);
        }
    }

    private static Figure Fish()
    {
        SKPath tail = Polygon((0.1, 0), (0.49, -0.28), (0.42, 0), (0.49, 0.28)), body = Oval(-0.12, 0, 0.38, 0.27);
        return new Figure(
            Join(SKPathOp.Union, new SKPath(tail), new SKPath(body)),
            (tail, Tint.Dark), (body, Tint.Main), (Polygon((-0.02, 0.02), (0.14, 0.14), (0.08, -0.08)), Tint.Dark),
            (Oval(-0.3, -0.07, 0.075, 0.075), Tint.White), (Oval(-0.315, -0.07, 0.042, 0.042), Tint.Pupil));
    }

    private static SKPath Star(double outer, double inner)
    {
        var corners = new (double, double)[10];
        for (int i = 0; i < corners.Length; i++)
        {
            (double sine, double cosine) = Math.SinCos(i * Math.PI / 5);
            double radius = i % 2 == 0 ? outer : inner;
            corners[i] = (radius * sine, 0.03 - (radius * cosine));
        }

        return Polygon(corners);
    }

    private static SKPath Heart()
    {
        var path = new SKPath();
        path.MoveTo(0, 0.46f);
        path.CubicTo(-0.22f, 0.28f, -0.49f, 0.08f, -0.49f, -0.17f);
        path.CubicTo(-0.49f, -0.5f, -0.1f, -0.53f, 0, -0.24f);
        path.CubicTo(0.1f, -0.53f, 0.49f, -0.5f, 0.49f, -0.17f);
        path.CubicTo(0.49f, 0.08f, 0.22f, 0.28f, 0, 0.46f);
        path.Close();
        return path;
    }

    private static SKPath Oval(double x, double y, double radiusX, double radiusY)
    {
        var path = new SKPath();
        path.AddOval(SKRect.Create(
            (float)(x - radiusX), (float)(y - radiusY), (float)(2 * radiusX), (float)(2 * radiusY)));
        return path;
    }

    private static SKPath Box(double left, double top, double right, double bottom) =>
        Polygon((left, top), (right, top), (right, bottom), (left, bottom));

    private static SKPath Polygon(params (double X, double Y)[] corners)
    {
        var path = new SKPath();
        path.AddPoly([.. corners.Select(corner => new SKPoint((float)corner.X, (float)corner.Y))], close: true);
        return path;
    }

    // Disposes both paths.
    private static SKPath Join(SKPathOp operation, SKPath a, SKPath b)
    {
        using (a)
        using (b)
        {
            return a.Op(b, operation);
        }
    }
}

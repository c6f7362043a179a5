// The renderer of scenes. A scene gives the same picture at every size, and rendering it again gives the same bytes.
using Atelier.Model.Imaging;
using Atelier.Shapes.Scenes;
using SkiaSharp;

namespace Atelier.Shapes.Drawing;

/// <summary>Draws scenes into 8-bit RGB. Reuses its shapes and buffers, so it is not thread-safe.</summary>
public sealed class SceneRenderer : IDisposable
{
    /// <summary>Minimum side in pixels; sides must be multiples of it.</summary>
    public const int SideMin = 32;

    /// <summary>Maximum side in pixels.</summary>
    public const int SideMax = 1024;

    // Cells per side of pixel art, and side length of the sketch from which strokes take their colors. Both are
    // independent of the picture's side length.
    private const int Cells = 32;
    private const int SketchSide = 64;

    // Lengths in fractions of the side. The outer half of a line is narrower than half of the gap between things.
    private const double ContourWidth = 0.05;
    private const double RimWidth = 0.036;
    private const double BackgroundStroke = 0.056;
    private const double ThingStroke = 0.03;

    private readonly Figure[] _figures = Figure.All();
    private readonly SKPaint _paint = new() { IsAntialias = true, StrokeJoin = SKStrokeJoin.Round };
    private readonly Dictionary<int, Sheet> _sheets = [];
    private readonly Dictionary<int, Sheet> _masks = [];
    private readonly Sheet _sketch = new(SketchSide);

    /// <summary>Draws a scene.</summary>
    /// <param name="scene">The scene.</param>
    /// <param name="side">Side in pixels: a multiple of 32, at most 1024.</param>
    public RgbImage Render(Scene scene, int side)
    {
        var pixels = new byte[3 * side * side];
        Render(scene, side, pixels);
        return new RgbImage(side, side, pixels);
    }

    /// <summary>Draws a scene into <paramref name="rgb"/>, [side, side, 3].</summary>
    public void Render(Scene scene, int side, Span<byte> rgb)
    {
        ArgumentNullException.ThrowIfNull(scene);
        if (side is < SideMin or > SideMax || side % SideMin != 0)
        {
            throw new ArgumentOutOfRangeException(
                nameof(side), side,
                $"The side must be {SideMin} to {SideMax} pixels, in multiples of {SideMin}.");
        }

        ArgumentOutOfRangeException.ThrowIfNotEqual(rgb.Length, 3 * side * side);
        bool isPixelArt = scene.Style == ArtStyle.PixelArt;
        Sheet sheet = SheetOf(_sheets, isPixelArt ? Cells : side);
        _paint.IsAntialias = !isPixelArt;
        if (scene.Style == ArtStyle.StarryNight)
        {
            Paint(sheet, scene);
        }
        else
        {
            Backdrop.Draw(sheet.Canvas, _paint, scene.Background, scene.Detail);
            DrawThings(sheet.Canvas, scene);
        }

        if (isPixelArt)
        {
            Light(sheet, scene);
        }

        Copy(sheet.Pixels.Rgba, isPixelArt ? side / Cells : 1, side, rgb);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        IDisposable[] all = [.. _figures, .. _sheets.Values, .. _masks.Values, _sketch, _paint];
        foreach (IDisposable owned in all)
        {
            owned.Dispose();
        }
    }

    private static Sheet SheetOf(Dictionary<int, Sheet> sheets, int side)
    {
        if (!sheets.TryGetValue(side, out Sheet? sheet))
        {
            sheets.Add(side, sheet = new Sheet(side));
        }

        return sheet;
    }

    private void DrawThings(SKCanvas canvas, Scene scene)
    {
        foreach (Thing thing in scene.Things)
        {
            Thing drawn = scene.Style == ArtStyle.PixelArt ? Snap(thing) : thing;
            Enter(canvas, drawn);
            DrawThing(canvas, scene, drawn);
            canvas.Restore();
        }
    }

    // Moves a thing to the nearest position at which its cells are symmetric: it has an odd number of cells per side,
    // and its center is the middle of a cell.
    private static Thing Snap(Thing thing)
    {
        double cells = (2 * Math.Floor(thing.Diameter * Cells / 2)) + 1;
        return thing with
        {
            X = (Math.Floor(thing.X * Cells) + 0.5) / Cells,
            Y = (Math.Floor(thing.Y * Cells) + 0.5) / Cells,
            Diameter = cells / Cells,
        };
    }

    private static void Enter(SKCanvas canvas, Thing thing)
    {
        canvas.Save();
        canvas.Translate((float)thing.X, (float)thing.Y);
        canvas.Scale((float)thing.Diameter);
    }

    private void DrawThing(SKCanvas canvas, Scene scene, Thing thing)
    {
        Figure figure = _figures[(int)thing.Kind];
        bool isNight = scene.Background == Background.NightSky, isOutlined = scene.Style == ArtStyle.Outline;
        if (isOutlined || (isNight && scene.Style != ArtStyle.PixelArt))
        {
            // Half of the line is outside and visible; the other half is covered by the thing.
            bool isPale = isNight || thing.Color == ThingColor.Black;
            _paint.Style = SKPaintStyle.Stroke;
            _paint.StrokeWidth = (float)((isOutlined ? ContourWidth : RimWidth) / thing.Diameter);
            _paint.Color = isPale ? Palette.Cream : Palette.Ink;
            canvas.DrawPath(figure.Silhouette, _paint);
        }

        _paint.Style = SKPaintStyle.Fill;
        foreach ((SKPath path, Tint tint) in figure.Parts)
        {
            _paint.Color = Figure.Color(tint, thing.Color);
            canvas.DrawPath(path, _paint);
        }
    }

    // Paints strokes over the background, then draws each thing, with finer strokes inside its outline.
    private void Paint(Sheet sheet, Scene scene)
    {
        var brush = new Brush(scene.Detail);
        Sheet mask = SheetOf(_masks, sheet.Side);
        mask.Canvas.Clear(SKColors.White);
        Backdrop.Draw(_sketch.Canvas, _paint, scene.Background, scene.Detail);
        Backdrop.Draw(sheet.Canvas, _paint, scene.Background, scene.Detail);
        brush.Cover(sheet.Pixels, mask.Pixels, _sketch.Pixels, new SKRect(0, 0, 1, 1), BackgroundStroke, 1);
        DrawThings(_sketch.Canvas, scene);
        foreach (Thing thing in scene.Things)
        {
            Enter(sheet.Canvas, thing);
            DrawThing(sheet.Canvas, scene, thing);
            sheet.Canvas.Restore();
            DrawMask(mask.Canvas, thing);
            var area = SKRect.Create(
                (float)(thing.X - (thing.Diameter / 2)), (float)(thing.Y - (thing.Diameter / 2)),
                (float)thing.Diameter, (float)thing.Diameter);
            brush.Cover(sheet.Pixels, mask.Pixels, _sketch.Pixels, area, ThingStroke, 0.7);
        }
    }

    // Draws the area inside the thing's outline in white on black.
    private void DrawMask(SKCanvas canvas, Thing thing)
    {
        canvas.Clear(SKColors.Black);
        _paint.Style = SKPaintStyle.Fill;
        _paint.Color = SKColors.White;
        Enter(canvas, thing);
        canvas.DrawPath(_figures[(int)thing.Kind].Silhouette, _paint);
        canvas.Restore();
    }

    // Things in pixel art are lit from the top left: their cells at the upper and left edges are lighter, those at the
    // lower and right edges darker. At night, the cells around things form their rims. A thing's number is higher than
    // that of a thing that contains it.
    private void Light(Sheet sheet, Scene scene)
    {
        Span<byte> owners = stackalloc byte[Cells * Cells];
        Sheet mask = SheetOf(_masks, Cells);
        for (int i = 0; i < scene.Things.Count; i++)
        {
            DrawMask(mask.Canvas, Snap(scene.Things[i]));
            for (int cell = 0; cell < owners.Length; cell++)
            {
                owners[cell] = mask.Pixels.Rgba[4 * cell] > 0 ? (byte)(i + 1) : owners[cell];
            }
        }

        for (int cell = 0; cell < owners.Length; cell++)
        {
            Span<byte> pixel = sheet.Pixels.Rgba.Slice(4 * cell, 3);
            var color = new SKColor(pixel[0], pixel[1], pixel[2]);
            (byte above, byte left, byte right, byte below) = Neighbors(owners, cell);
            byte own = owners[cell], most = Math.Max(Math.Max(above, left), Math.Max(right, below));
            bool isLit = above != own || left != own, isShaded = below != own || right != own;
            if (own != 0 && isLit != isShaded)
            {
                color = Palette.Shade(color, isLit ? 0.3 : -0.28);
            }
            else if (scene.Background == Background.NightSky && most > own)
            {
                color = Palette.Cream;
            }

            (pixel[0], pixel[1], pixel[2]) = (color.Red, color.Green, color.Blue);
        }
    }

    // The owners of a cell's neighbors; beyond the picture's edge, the cell's own owner.
    private static (byte Above, byte Left, byte Right, byte Below) Neighbors(ReadOnlySpan<byte> owners, int cell)
    {
        (int row, int column) = Math.DivRem(cell, Cells);
        return (
            owners[row > 0 ? cell - Cells : cell], owners[column > 0 ? cell - 1 : cell],
            owners[column < Cells - 1 ? cell + 1 : cell], owners[row < Cells - 1 ? cell + Cells : cell]);
    }

    private static void Copy(ReadOnlySpan<byte> rgba, int scale, int side, Span<byte> rgb)
    {
        int columns = side / scale;
        for (int y = 0, to = 0; y < side; y++)
        {
            for (int x = 0; x < side; x++, to += 3)
            {
                rgba.Slice(4 * ((y / scale * columns) + (x / scale)), 3).CopyTo(rgb[to..]);
            }
        }
    }

    // Pixels, and a canvas that draws on them with coordinates in fractions of the side.
    private sealed class Sheet : IDisposable
    {
        private readonly SKBitmap _bitmap;

        public Sheet(int side)
        {
            _bitmap = new SKBitmap(new SKImageInfo(side, side, SKColorType.Rgba8888, SKAlphaType.Opaque));
            Canvas = new SKCanvas(_bitmap);
            Canvas.Scale(side);
            Side = side;
        }

        public int Side { get; }

        public SKCanvas Canvas { get; }

        public Pixels Pixels => new(_bitmap.GetPixelSpan(), Side);

        public void Dispose()
        {
            Canvas.Dispose();
            _bitmap.Dispose();
        }
    }
}

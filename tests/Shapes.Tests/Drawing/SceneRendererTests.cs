// Goal: a scene gives one picture, and everything in it can be recognized. Method: stored pictures that were reviewed
// once, and properties of pixels.
using Atelier.Model.Imaging;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;
using SkiaSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Drawing;

public sealed class SceneRendererTests
{
    private const int Side = 64;
    private const int Columns = 6;

    [Fact]
    public void Picture_IsTheSameBytes_FromAnyRenderer_InAnyOrder()
    {
        var sampler = new SceneSampler(1);
        Scene[] scenes = [.. Enumerable.Range(0, 40).Select(i => sampler.Draw(i, SceneTask.Free, Split.Any))];
        using SceneRenderer one = new(), other = new();
        byte[][] first = [.. scenes.Select(scene => one.Render(scene, Side).Pixels)];
        _ = scenes.Select(scene => other.Render(scene, 2 * Side)).Count();
        for (int i = scenes.Length - 1; i >= 0; i--)
        {
            Assert.Equal(first[i], other.Render(scenes[i], Side).Pixels);
        }
    }

    // Bytes may differ by rounding between processors, so the stored pictures must match within two of 255.
    [Fact]
    public void Pictures_AreTheKeptOnes()
    {
        RgbImage drawn = Sheet();
        string path = Path.Combine(AppContext.BaseDirectory, "scenes.png");
        using (FileStream file = File.Create(path))
        {
            Png.Write(file, drawn.Pixels, drawn.Width, drawn.Height, []);
        }

        RgbImage kept = ImageCodec.Decode(File.ReadAllBytes(Repository.At("tests/Shapes.Tests/Vectors/scenes.png")));
        Assert.Equal((kept.Width, kept.Height), (drawn.Width, drawn.Height));
        int[] differences = [.. kept.Pixels.Zip(drawn.Pixels, (a, b) => Math.Abs(a - b))];
        int other = differences.Count(difference => difference > 2);
        Assert.True(
            other < differences.Length / 1000, $"{other} values differ from the kept picture's; drawn now: {path}");
    }

    [Fact]
    public void TwoSizes_AreTheSamePicture()
    {
        using var renderer = new SceneRenderer();
        for (int i = 0; i < 60; i++)
        {
            Scene scene = new SceneSampler(8).Draw(i);
            RgbImage small = renderer.Render(scene, Side), large = renderer.Render(scene, 2 * Side);
            double sum = 0;
            for (int place = 0; place < small.Pixels.Length; place++)
            {
                (int row, int rest) = Math.DivRem(place, 3 * Side);
                int from = (2 * row * 6 * Side) + (6 * (rest / 3)) + (rest % 3), below = from + (6 * Side);
                byte[] fine = large.Pixels;
                sum += Math.Abs(
                    small.Pixels[place] - ((fine[from] + fine[from + 3] + fine[below] + fine[below + 3]) / 4));
            }

            Assert.InRange(sum / small.Pixels.Length, 0, scene.Style == ArtStyle.PixelArt ? 0 : 6);
        }
    }

    [Fact]
    public void EveryColor_StandsOutOnEveryBackground_InEveryStyle()
    {
        using var renderer = new SceneRenderer();
        foreach (ThingColor color in Enum.GetValues<ThingColor>())
        {
            foreach (Background background in Enum.GetValues<Background>())
            {
                foreach (ArtStyle style in Enum.GetValues<ArtStyle>())
                {
                    RgbImage image = renderer.Render(Square(background, style, color), Side);
                    double inside = Distance(image, 26, 38, color), around = Distance(image, 0, 14, color);
                    Assert.InRange(inside, 0, 75);
                    Assert.True(
                        around > inside + 45 || background == Background.NightSky,
                        $"{color} {background} {style}: {inside:f0} inside, {around:f0} around");
                }
            }
        }
    }

    [Fact]
    public void ThingsAtNight_HaveAPaleRim_SoThatDarkOnesShow()
    {
        using var renderer = new SceneRenderer();
        foreach (ArtStyle style in Enum.GetValues<ArtStyle>())
        {
            RgbImage image = renderer.Render(Square(Background.NightSky, style, ThingColor.Black), Side);
            Assert.InRange(Enumerable.Range(12, 10).Max(row => (int)image.Pixels[3 * ((row * Side) + 32)]), 130, 255);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(31)]
    [InlineData(100)]
    [InlineData(2048)]
    public void Side_ThatNoCellFits_IsRefused(int side)
    {
        using var renderer = new SceneRenderer();
        Scene scene = new SceneSampler(1).Draw(0);
        Assert.Throws<ArgumentOutOfRangeException>(() => renderer.Render(scene, side));
    }

    // Every kind in every style, on varying backgrounds and in varying colors.
    internal static RgbImage Sheet()
    {
        using var renderer = new SceneRenderer();
        var pixels = new byte[3 * 48 * Side * Side];
        for (int i = 0; i < 48; i++)
        {
            (int style, int kind) = Math.DivRem(i, 12);
            var color = (ThingColor)((kind + (3 * style)) % 10);
            var thing = new Thing((ThingKind)kind, color, 0.5, 0.5, 0.27 + (0.09 * (kind % 3)));
            RgbImage image = renderer.Render(
                new Scene((Background)((kind + style) % 7), (ArtStyle)style, [thing], null, (uint)i), Side);
            for (int row = 0; row < Side; row++)
            {
                int to = 3 * Side * (((((i / Columns) * Side) + row) * Columns) + (i % Columns));
                image.Pixels.AsSpan(3 * Side * row, 3 * Side).CopyTo(pixels.AsSpan(to));
            }
        }

        return new RgbImage(Columns * Side, 48 / Columns * Side, pixels);
    }

    private static Scene Square(Background background, ArtStyle style, ThingColor color) =>
        new(background, style, [new Thing(ThingKind.Square, color, 0.5, 0.5, 0.45)], null, 7);

    // Distance of the mean color of a square area from a thing's color, summed over the channels.
    private static double Distance(RgbImage image, int from, int to, ThingColor color)
    {
        SKColor own = Palette.Of(color);
        return Math.Abs(Mean(image, from, to, 0) - own.Red) + Math.Abs(Mean(image, from, to, 1) - own.Green)
            + Math.Abs(Mean(image, from, to, 2) - own.Blue);
    }

    private static double Mean(RgbImage image, int from, int to, int channel)
    {
        double sum = 0;
        for (int y = from; y < to; y++)
        {
            for (int x = from; x < to; x++)
            {
                sum += image.Pixels[(3 * ((y * image.Width) + x)) + channel];
            }
        }

        return sum / ((to - from) * (to - from));
    }
}

// Degradations of a picture that do not change its contents: the oracle must tolerate them, and is measured on them.
using Atelier.Model.Imaging;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Judging;

/// <summary>A kind of degradation.</summary>
public enum Spoilage
{
    /// <summary>No degradation.</summary>
    None,

    /// <summary>Gaussian noise on every channel, with a standard deviation of at most 6 % of the range.</summary>
    Noise,

    /// <summary>A blur over about three pixels in a picture of 64 pixels per side.</summary>
    Blur,

    /// <summary>
    /// A reduction to about half the resolution and back, which loses fine detail as an autoencoder does.
    /// </summary>
    Shrink,

    /// <summary>JPEG compression of low quality.</summary>
    Jpeg,

    /// <summary>Changed brightness, contrast and color balance.</summary>
    Light,
}

/// <summary>Degrades pictures. The same seed and index give the same result.</summary>
public static class Spoiling
{
    /// <summary>Degrades a picture in one way, with a random strength.</summary>
    public static RgbImage Spoil(RgbImage image, Spoilage how, ulong seed, long index)
    {
        ArgumentNullException.ThrowIfNull(image);
        return Spoil(image, how, new DrawStream(seed, Purpose.Spoiling, index));
    }

    internal static RgbImage Spoil(RgbImage image, Spoilage how, DrawStream draw) => how switch
    {
        Spoilage.Noise => Noise(image, draw),
        Spoilage.Blur => Blur(image, draw.Between(0.3, 1)),
        Spoilage.Shrink => Shrink(image, draw),
        Spoilage.Jpeg => ImageCodec.Decode(ImageCodec.EncodeJpeg(image, 40 + draw.Below(50))),
        Spoilage.Light => Light(image, draw),
        _ => image,
    };

    private static RgbImage Noise(RgbImage image, DrawStream draw)
    {
        double sigma = 255 * draw.Between(0.01, 0.06);

        // The sum of three uniform numbers is close enough to a normal distribution; its variance is 1/4.
        return Map(image, (value, _) => value + (2 * sigma * (draw.Next() + draw.Next() + draw.Next() - 1.5)));
    }

    private static RgbImage Light(RgbImage image, DrawStream draw)
    {
        double contrast = draw.Between(0.85, 1.12), shift = draw.Between(-14, 14);
        double[] balance = [draw.Between(-8, 8), draw.Between(-8, 8), draw.Between(-8, 8)];
        return Map(image, (value, channel) => 128 + (contrast * (value - 128)) + shift + balance[channel]);
    }

    private static RgbImage Map(RgbImage image, Func<double, int, double> change)
    {
        var pixels = new byte[image.Pixels.Length];
        for (int i = 0; i < pixels.Length; i++)
        {
            pixels[i] = (byte)Math.Clamp(Math.Round(change(image.Pixels[i], i % 3)), 0, 255);
        }

        return new RgbImage(image.Width, image.Height, pixels);
    }

    // Blurs with binomial weights (1, 2, 1) / 4 in both directions, and mixes the result with the picture itself. The
    // blur is wider in larger pictures.
    private static RgbImage Blur(RgbImage image, double part)
    {
        byte[] pixels = image.Pixels;
        for (int reach = 1; reach <= Math.Max(1, image.Width / OracleNetwork.Side); reach++)
        {
            pixels = BlurAlong(pixels, image.Width, image.Height, 0, reach, part);
            pixels = BlurAlong(pixels, image.Width, image.Height, reach, 0, part);
        }

        return new RgbImage(image.Width, image.Height, pixels);
    }

    private static byte[] BlurAlong(byte[] from, int width, int height, int right, int down, double part)
    {
        var to = new byte[from.Length];
        for (int i = 0; i < to.Length; i++)
        {
            (int place, int channel) = Math.DivRem(i, 3);
            (int y, int x) = Math.DivRem(place, width);
            int around = At(x - right, y - down, channel) + At(x + right, y + down, channel);
            double mean = (from[i] / 2.0) + (around / 4.0);
            to[i] = (byte)Math.Round(from[i] + (part * (mean - from[i])));
        }

        return to;

        int At(int x, int y, int channel) =>
            from[(3 * ((Math.Clamp(y, 0, height - 1) * width) + Math.Clamp(x, 0, width - 1))) + channel];
    }

    private static RgbImage Shrink(RgbImage image, DrawStream draw)
    {
        double part = draw.Between(0.5, 0.9) * Math.Min(1, (double)OracleNetwork.Side / image.Width);
        (int width, int height) = ((int)(image.Width * part), (int)(image.Height * part));
        byte[] small = ImageResize.Bicubic(image.Pixels, image.Width, image.Height, width, height);
        return new RgbImage(
            image.Width, image.Height, ImageResize.Bicubic(small, width, height, image.Width, image.Height));
    }
}

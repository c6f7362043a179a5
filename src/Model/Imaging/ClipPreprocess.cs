namespace Atelier.Model.Imaging;

/// <summary>Converts a picture into the input of CLIP's image tower.</summary>
public static class ClipPreprocess
{
    /// <summary>Mean of red, green and blue over CLIP's training pictures, for values in [0, 1].</summary>
    public static ReadOnlySpan<float> Mean => [0.48145466f, 0.4578275f, 0.40821073f];

    /// <summary>Standard deviation of red, green and blue over the same pictures.</summary>
    public static ReadOnlySpan<float> Deviation => [0.26862954f, 0.26130258f, 0.27577711f];

    /// <summary>
    /// Resizes the picture without keeping its aspect ratio to <paramref name="side"/> x <paramref name="side"/>,
    /// scales it to [0, 1] and normalizes each channel by <see cref="Mean"/> and <see cref="Deviation"/>.
    /// </summary>
    /// <returns>[3, side, side], row-major.</returns>
    public static float[] Run(RgbImage image, int side)
    {
        ArgumentNullException.ThrowIfNull(image);
        var rgb = ImageResize.Bicubic(image.Pixels, image.Width, image.Height, side, side);
        int plane = side * side;
        var result = new float[3 * plane];
        for (int channel = 0; channel < 3; channel++)
        {
            var (mean, deviation) = (Mean[channel], Deviation[channel]);
            for (int i = 0; i < plane; i++)
            {
                result[(channel * plane) + i] = ((rgb[(3 * i) + channel] / 255f) - mean) / deviation;
            }
        }

        return result;
    }
}

// Pillow's antialiased resampling of 8-bit pictures, in its fixed-point arithmetic, so that CLIP sees the same pixels
// as in training: two passes (rows, then columns) with 22-bit coefficients, and rounding and clipping to 8 bits after
// each pass.
namespace Atelier.Model.Imaging;

/// <summary>Resizes pictures.</summary>
public static class ImageResize
{
    private const int Channels = 3;

    // 32 bits minus 8 for the pixel minus 2 for the overshoot of negative lobes.
    private const int PrecisionBits = 32 - 8 - 2;

    /// <summary>
    /// Bicubic interpolation with a = -0.5 and a support that grows with the reduction factor. The aspect ratio is not
    /// kept: the whole picture is squashed or stretched to the target.
    /// </summary>
    /// <param name="rgb">Pixels, [height, width, 3].</param>
    /// <param name="width">Columns of <paramref name="rgb"/>, 1 to <see cref="ImageCodec.SideMax"/>.</param>
    /// <param name="height">Rows of <paramref name="rgb"/>, 1 to <see cref="ImageCodec.SideMax"/>.</param>
    /// <param name="targetWidth">Columns of the result, 1 to <see cref="ImageCodec.SideMax"/>.</param>
    /// <param name="targetHeight">Rows of the result, 1 to <see cref="ImageCodec.SideMax"/>.</param>
    /// <returns>Pixels, [targetHeight, targetWidth, 3].</returns>
    public static byte[] Bicubic(ReadOnlySpan<byte> rgb, int width, int height, int targetWidth, int targetHeight)
    {
        RgbImage.CheckSize(rgb, width, height);
        CheckSide(width);
        CheckSide(height);
        CheckSide(targetWidth);
        CheckSide(targetHeight);
        return ResizeColumns(ResizeRows(rgb, width, height, targetWidth), targetWidth, height, targetHeight);
    }

    private static void CheckSide(int side)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(side);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(side, ImageCodec.SideMax);
    }

    // [height, width, 3] -> [height, target, 3]
    private static byte[] ResizeRows(ReadOnlySpan<byte> source, int width, int height, int target)
    {
        var windows = Windows(width, target);
        var result = new byte[height * target * Channels];
        for (int y = 0, to = 0; y < height; y++)
        {
            var row = source.Slice(y * width * Channels, width * Channels);
            foreach (var (start, weights) in windows)
            {
                for (int channel = 0; channel < Channels; channel++, to++)
                {
                    int sum = 1 << (PrecisionBits - 1);
                    int from = (start * Channels) + channel;
                    foreach (int weight in weights)
                    {
                        sum += row[from] * weight;
                        from += Channels;
                    }

                    result[to] = Round(sum);
                }
            }
        }

        return result;
    }

    // [height, width, 3] -> [target, width, 3]
    private static byte[] ResizeColumns(ReadOnlySpan<byte> source, int width, int height, int target)
    {
        int stride = width * Channels;
        var result = new byte[target * stride];
        var sums = new int[stride];
        var row = result.AsSpan();
        foreach (var (start, weights) in Windows(height, target))
        {
            sums.AsSpan().Fill(1 << (PrecisionBits - 1));
            for (int k = 0; k < weights.Length; k++)
            {
                var line = source.Slice((start + k) * stride, stride);
                int weight = weights[k];
                for (int x = 0; x < line.Length; x++)
                {
                    sums[x] += line[x] * weight;
                }
            }

            for (int x = 0; x < stride; x++)
            {
                row[x] = Round(sums[x]);
            }

            row = row[stride..];
        }

        return result;
    }

    private static byte Round(int sum) => (byte)Math.Clamp(sum >> PrecisionBits, byte.MinValue, byte.MaxValue);

    // For each position of the result: the first source position with a weight, and the weights from there on. The
    // weights sum to one; at the borders the part of the kernel outside the picture is dropped.
    private static (int Start, int[] Weights)[] Windows(int length, int target)
    {
        double scale = (double)length / target;
        double spread = Math.Max(scale, 1.0);
        double support = 2.0 * spread;
        var windows = new (int, int[])[target];
        for (int i = 0; i < target; i++)
        {
            double center = (i + 0.5) * scale;
            int start = Math.Max((int)(center - support + 0.5), 0);
            int end = Math.Min((int)(center + support + 0.5), length);
            var weights = new double[end - start];
            for (int k = 0; k < weights.Length; k++)
            {
                weights[k] = Cubic((k + start - center + 0.5) / spread);
            }

            double total = weights.Sum();
            windows[i] = (start, Array.ConvertAll(
                weights, w => (int)Math.Round(w / total * (1 << PrecisionBits), MidpointRounding.AwayFromZero)));
        }

        return windows;
    }

    // Keys' cubic convolution kernel with a = -1/2 (IEEE Trans. ASSP 29, 1981, equation 15).
    private static double Cubic(double x)
    {
        const double a = -0.5;
        x = Math.Abs(x);
        return x switch
        {
            < 1.0 => ((((a + 2.0) * x) - (a + 3.0)) * x * x) + 1.0,
            < 2.0 => ((((x - 5.0) * x) + 8.0) * x - 4.0) * a,
            _ => 0.0,
        };
    }
}

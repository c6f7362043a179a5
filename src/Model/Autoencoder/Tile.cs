// The division of one axis of a latent into overlapping tiles, with the weight of each tile at each pixel.
using static TorchSharp.torch;

namespace Atelier.Model.Autoencoder;

/// <summary>
/// One tile of an axis: its first position, its length in latent positions, and its weight for each pixel that it
/// covers. The weights of all tiles sum to one at each pixel.
/// </summary>
internal sealed record Tile(int Start, int Length, float[] Shares)
{
    /// <summary>The weights as a vector [Length * factor], of the type and device of <paramref name="like"/>.</summary>
    public Tensor Weight(Tensor like) => tensor(Shares, dtype: like.dtype, device: like.device);

    /// <summary>
    /// Covers <paramref name="length"/> positions with as few tiles as possible, spread evenly. Neighboring tiles share
    /// at least <paramref name="overlap"/> positions. One tile if everything fits into it.
    /// </summary>
    public static Tile[] Cover(long length, int tile, int overlap, int factor)
    {
        int side = (int)Math.Min(length, tile);
        long free = length - side;
        int count = free == 0 ? 1 : (int)((free + (tile - overlap) - 1) / (tile - overlap)) + 1;
        int[] starts = [.. Enumerable.Range(0, count).Select(i => count == 1 ? 0 : (int)(i * free / (count - 1)))];
        double[] total = new double[length * factor];
        double[][] ramps = [.. Enumerable.Range(0, count).Select(i =>
            Ramp(side * factor, overlap * factor, first: i == 0, last: i == count - 1))];
        for (int i = 0; i < count; i++)
        {
            for (int x = 0; x < ramps[i].Length; x++)
            {
                total[(starts[i] * factor) + x] += ramps[i][x];
            }
        }

        return [.. starts.Select((start, i) =>
            new Tile(start, side, [.. ramps[i].Select((ramp, x) => (float)(ramp / total[(start * factor) + x]))]))];
    }

    // The weight rises from 0 to 1 over the first pixels of a tile and falls back over its last pixels, except at the
    // ends of the axis.
    private static double[] Ramp(int pixels, int fade, bool first, bool last)
    {
        double[] ramp = new double[pixels];
        for (int x = 0; x < pixels; x++)
        {
            double rise = first || x >= fade ? 1 : (x + 0.5) / fade;
            double fall = last || pixels - 1 - x >= fade ? 1 : (pixels - x - 0.5) / fade;
            ramp[x] = Math.Min(rise, fall);
        }

        return ramp;
    }
}

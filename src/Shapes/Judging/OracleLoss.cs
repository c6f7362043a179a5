// The training loss of the oracle.
using Atelier.Shapes.Scenes;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Shapes.Judging;

/// <summary>
/// The sum of three kinds of loss. Centers have the focal loss of Law and Deng 2018 (arXiv 1808.01244, eq. 1), as in
/// Zhou et al. 2019 (arXiv 1904.07850); colors, background and style have cross-entropy; positions and diameters have
/// the absolute distance.
/// </summary>
internal static class OracleLoss
{
    private const int Grid = OracleNetwork.Grid;
    private const double Sigma = 0.7;

    // Weights of the errors of x and y, in cells, and of the diameter, as a fraction of the picture's side.
    private static readonly float[] s_placeWeights = [0.3f, 0.3f, 6f];
    private static readonly int s_kinds = Enum.GetValues<ThingKind>().Length;

    /// <summary>The mean loss over scenes.</summary>
    public static Tensor Of(OracleOutput output, IReadOnlyList<Scene> scenes)
    {
        var heat = new float[scenes.Count * s_kinds * Grid * Grid];
        var (centers, colors, boxes) = (new List<long>(), new List<long>(), new List<float>());
        for (int i = 0; i < scenes.Count; i++)
        {
            foreach (Thing thing in scenes[i].Things)
            {
                int layer = ((i * s_kinds) + (int)thing.Kind) * Grid * Grid;
                int column = (int)(thing.X * Grid), row = (int)(thing.Y * Grid);
                Warm(heat.AsSpan(layer, Grid * Grid), column, row);
                centers.Add(layer + (row * Grid) + column);
                colors.Add((long)thing.Color);
                boxes.Add((float)((thing.X * Grid) - column - 0.5));
                boxes.Add((float)((thing.Y * Grid) - row - 0.5));
                boxes.Add((float)thing.Diameter);
            }
        }

        Tensor at = tensor(centers.ToArray());                                                      // [N]
        Tensor colorLogits = output.Colors.permute(0, 1, 3, 4, 2).reshape(-1, output.Colors.shape[2]);
        Tensor places = output.Boxes.permute(0, 1, 3, 4, 2).reshape(-1, 3);
        Tensor distance = (places.index_select(0, at) - tensor(boxes.ToArray(), [at.shape[0], 3])).abs(); // [N, 3]
        Tensor scale = tensor(s_placeWeights);
        return Focal(output.Centers, tensor(heat, output.Centers.shape), at.shape[0])
            + functional.cross_entropy(colorLogits.index_select(0, at), tensor(colors.ToArray()))
            + (distance * scale).sum(1).mean()
            + (0.5 * functional.cross_entropy(output.Backgrounds, Numbers(scene => (long)scene.Background)))
            + (0.5 * functional.cross_entropy(output.Styles, Numbers(scene => (long)scene.Style)));

        Tensor Numbers(Func<Scene, long> numberOf) => tensor(scenes.Select(numberOf).ToArray()); // [B]
    }

    // Sets the target to 1 at the center's cell and to less around it, so that a near miss costs less.
    private static void Warm(Span<float> layer, int column, int row)
    {
        for (int y = Math.Max(0, row - 2); y <= Math.Min(Grid - 1, row + 2); y++)
        {
            for (int x = Math.Max(0, column - 2); x <= Math.Min(Grid - 1, column + 2); x++)
            {
                int squared = ((x - column) * (x - column)) + ((y - row) * (y - row));
                ref float cell = ref layer[(y * Grid) + x];
                cell = Math.Max(cell, (float)Math.Exp(-squared / (2 * Sigma * Sigma)));
            }
        }
    }

    // -1/N sum of (1-p)² log p where the target h is 1, and of (1-h)⁴ p² log(1-p) elsewhere.
    private static Tensor Focal(Tensor logits, Tensor target, long count)
    {
        Tensor p = logits.sigmoid(), isCenter = target.eq(1).to(ScalarType.Float32);
        Tensor hit = (1 - p).pow(2) * functional.logsigmoid(logits) * isCenter;
        Tensor miss = (1 - target).pow(4) * p.pow(2) * functional.logsigmoid(-logits) * (1 - isCenter);
        return -(hit.sum() + miss.sum()) / count;
    }
}

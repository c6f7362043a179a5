// Floating-point operations of MicroDiT: the basis of speed measurements and of the queue's predictions.
namespace Atelier.Model.Networks;

/// <summary>
/// Counts the operations of the necessary matrix products, two per multiply-add: experts count only for the rows that
/// they chose; attention is included, element-wise work is not.
/// </summary>
/// <param name="Config">The network.</param>
public sealed record MicroDiTCost(MicroDiTConfig Config)
{
    /// <summary>
    /// Operations to process a caption of <paramref name="length"/> tokens, which happens once per picture.
    /// </summary>
    public double Caption(int length)
    {
        double dim = Config.Dim;
        double projection = Linear(length, Config.CaptionChannels, dim) + Linear(length, dim, dim)
            + (2 * Linear(1, dim, dim));
        double block = Linear(length, dim, 3 * dim) + Linear(length, dim, dim) + Attention(length, length, dim)
            + (3 * Linear(length, dim, Config.GatedWidth(4 * Config.Dim)));
        bool maps = Config.UsePatchMixer && Config.PatchMixerDim != Config.Dim;
        return projection + block + (maps ? Linear(length, dim, Config.PatchMixerDim) : 0)
            + Config.MixerBlocks().Concat(Config.BackboneBlocks())
                .Sum(shape => Linear(length, shape.Width, 2.0 * shape.Width));
    }

    /// <summary>Operations of one evaluation for one picture, without those of <see cref="Caption"/>.</summary>
    /// <param name="captionLength">Tokens of the caption.</param>
    /// <param name="maskRatio">Fraction of the patches that the backbone does not see.</param>
    public double Evaluation(int captionLength, double maskRatio = 0)
    {
        double dim = Config.Dim;
        int all = Config.Tokens, seen = PatchMask.KeptOf(all, maskRatio);
        double ends = Linear(all, Config.PatchValues, dim) + Linear(1, TimestepEmbedder.Frequencies, dim)
            + Linear(1, dim, dim) + Linear(1, dim, 2 * dim) + Linear(seen, dim, Config.PatchValues);
        bool maps = Config.UsePatchMixer && Config.PatchMixerDim != Config.Dim;
        return ends + (maps ? Linear(all, dim, Config.PatchMixerDim) + Linear(seen, Config.PatchMixerDim, dim) : 0)
            + Config.MixerBlocks().Sum(shape => Block(shape, all, captionLength))
            + Config.BackboneBlocks().Sum(shape => Block(shape, seen, captionLength));
    }

    private double Block(BlockShape shape, int tokens, int captionLength)
    {
        double width = shape.Width, attention = shape.AttentionWidth;
        double self = Linear(tokens, width, 3 * attention) + Attention(tokens, tokens, attention)
            + Linear(tokens, attention, width);
        double cross = (2 * Linear(tokens, width, width)) + Attention(tokens, captionLength, width);
        int taken = Config.NumExperts * (int)(Config.ExpertCapacity * tokens / Config.NumExperts);
        double feedForward = shape.HasExperts
            ? Linear(tokens, width, Config.NumExperts) + (2 * Linear(taken, width, shape.FeedForwardWidth))
            : 3 * Linear(tokens, width, shape.FeedForwardWidth);
        return Linear(1, Config.Dim, 6 * width) + self + cross + feedForward;
    }

    private static double Linear(double rows, double inputs, double outputs) => 2 * rows * inputs * outputs;

    private static double Attention(double queries, double keys, double width) => 4 * queries * keys * width;
}

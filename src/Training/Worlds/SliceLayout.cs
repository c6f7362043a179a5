// How the vector of P numbers is cut into the slices of a world's members.
namespace Atelier.Training.Worlds;

/// <summary>The cutting of a vector into slices in order; their lengths differ by at most one.</summary>
/// <param name="Parameters">Numbers of the vector, P.</param>
/// <param name="Slices">Number of slices.</param>
public readonly record struct SliceLayout(int Parameters, int Slices)
{
    /// <summary>Where a slice begins and how many numbers it has.</summary>
    public (int Start, int Count) this[int slice]
    {
        get
        {
            (int each, int more) = Math.DivRem(Parameters, Slices);
            return ((slice * each) + Math.Min(slice, more), slice < more ? each + 1 : each);
        }
    }

    /// <summary>The slices of a gradient, without copying it; the first one has the other sums.</summary>
    /// <param name="gradient">The gradient, P numbers.</param>
    /// <param name="sums">The other sums.</param>
    public GradientSlice[] Cut(float[] gradient, BatchSums sums)
    {
        var slices = new GradientSlice[Slices];
        for (int i = 0; i < slices.Length; i++)
        {
            (int start, int count) = this[i];
            slices[i] = new GradientSlice(gradient.AsMemory(start, count), i == 0 ? sums : null);
        }

        return slices;
    }

    /// <summary>Whether a frame's numbers are those of its slice; frames without numbers always are.</summary>
    /// <param name="frame">A frame.</param>
    /// <param name="parameters">Numbers of the vector, P.</param>
    /// <param name="slices">Slices of the frame's world, for frames that do not say it.</param>
    public static bool Fits(Frame frame, int parameters, int slices) => frame switch
    {
        PartialFrame<GradientSlice> part =>
            part.Slice < slices && part.Value.Values.Length == new SliceLayout(parameters, slices)[part.Slice].Count,
        TotalFrame<GradientSlice> total => total.Slice < total.Slices
            && total.Value.Values.Length == new SliceLayout(parameters, total.Slices)[total.Slice].Count,
        _ => true,
    };
}

// The layout of a vector of P numbers that is cut into slices, one for each member of a world.
namespace Atelier.Training.Worlds;

/// <summary>How a vector is cut into consecutive slices, whose lengths differ by at most one.</summary>
/// <param name="Parameters">Length of the vector, P.</param>
/// <param name="Slices">Number of slices.</param>
public readonly record struct SliceLayout(int Parameters, int Slices)
{
    /// <summary>Start of a slice and its number of elements.</summary>
    public (int Start, int Count) this[int slice]
    {
        get
        {
            (long start, long count) = Part(Parameters, slice, Slices);
            return ((int)start, (int)count);
        }
    }

    /// <summary>Start and length of one of several consecutive parts, whose lengths differ by at most one.</summary>
    /// <param name="length">Length of the whole.</param>
    /// <param name="part">Index of the part.</param>
    /// <param name="parts">Number of parts.</param>
    public static (long Start, long Count) Part(long length, int part, int parts)
    {
        (long each, long more) = Math.DivRem(length, parts);
        return ((part * each) + Math.Min(part, more), part < more ? each + 1 : each);
    }

    /// <summary>Cuts a gradient into slices without copying it. The first slice has the other sums.</summary>
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

    /// <summary>Whether a frame has as many numbers as its slice; always true for a frame without numbers.</summary>
    /// <param name="frame">A frame.</param>
    /// <param name="parameters">Length of the vector, P.</param>
    /// <param name="slices">Number of slices of the frame's world, for frames that do not contain this number.</param>
    public static bool Fits(Frame frame, int parameters, int slices) => frame switch
    {
        PartialFrame<GradientSlice> part =>
            part.Slice < slices && part.Value.Values.Length == new SliceLayout(parameters, slices)[part.Slice].Count,
        TotalFrame<GradientSlice> total => total.Slice < total.Slices
            && total.Value.Values.Length == new SliceLayout(parameters, total.Slices)[total.Slice].Count,
        _ => true,
    };
}

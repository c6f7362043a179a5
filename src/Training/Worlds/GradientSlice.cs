// A slice of a gradient sum as trainers exchange it: the numbers, and with the first slice what else a batch sums up.
using System.Numerics;
using System.Runtime.InteropServices;

namespace Atelier.Training.Worlds;

/// <summary>One slice of a sum over samples.</summary>
/// <param name="Values">Sums of the gradients, float32, one for each parameter of the slice.</param>
/// <param name="Sums">Everything else that is summed over the same samples: in slice 0 only, null in others.</param>
public sealed record GradientSlice(Memory<float> Values, BatchSums? Sums)
{
    /// <summary>
    /// Adds two sums in the memory of <paramref name="left"/>, element by element in float32; both are consumed.
    /// </summary>
    /// <exception cref="ArgumentException">They differ in length, or one of them has no sums.</exception>
    public static GradientSlice Merge(GradientSlice left, GradientSlice right)
    {
        if (left.Values.Length != right.Values.Length || (left.Sums is null) != (right.Sums is null))
        {
            throw new ArgumentException(
                $"A slice of {left.Values.Length} numbers {With(left)} and one of {right.Values.Length} {With(right)} "
                + "are not of one slice.",
                nameof(right));
        }

        Add(left.Values.Span, right.Values.Span);
        return left.Sums is { } sums ? left with { Sums = BatchSums.Merge(sums, right.Sums!) } : left;
    }

    private static string With(GradientSlice slice) => slice.Sums is null ? "without sums" : "with sums";

    private static void Add(Span<float> left, ReadOnlySpan<float> right)
    {
        Span<Vector<float>> vectors = MemoryMarshal.Cast<float, Vector<float>>(left);
        ReadOnlySpan<Vector<float>> others = MemoryMarshal.Cast<float, Vector<float>>(right);
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] += others[i];
        }

        for (int i = vectors.Length * Vector<float>.Count; i < left.Length; i++)
        {
            left[i] += right[i];
        }
    }
}

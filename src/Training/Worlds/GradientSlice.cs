// A slice of a gradient sum as trainers exchange it: the numbers and, in the first slice only, the other sums of the
// batch.
using System.Numerics;
using System.Runtime.InteropServices;

namespace Atelier.Training.Worlds;

/// <summary>One slice of a sum over samples.</summary>
/// <param name="Values">Sums of the gradients, float32, one for each parameter of the slice.</param>
/// <param name="Sums">The other sums over the same samples; null except in slice 0.</param>
public sealed record GradientSlice(Memory<float> Values, BatchSums? Sums)
{
    /// <summary>
    /// Adds two slices element by element in float32, in the memory of <paramref name="left"/>. Neither argument may be
    /// used afterwards.
    /// </summary>
    /// <exception cref="ArgumentException">
    /// The slices differ in length, or only one of them has the other sums.
    /// </exception>
    public static GradientSlice Merge(GradientSlice left, GradientSlice right)
    {
        if (left.Values.Length != right.Values.Length || (left.Sums is null) != (right.Sums is null))
        {
            throw new ArgumentException(
                $"A slice of {left.Values.Length} numbers {With(left)} and one of {right.Values.Length} {With(right)} "
                + "cannot be added.",
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

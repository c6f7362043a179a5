// What a trainer says about a shard that it computed, in so few bytes that it travels with every batch: another trainer
// that computes the same shard says the same, or one of the two is wrong.
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Atelier.Training.Worlds;

/// <summary>The sums of a shard in brief. Two claims are equal only if all bits of the gradients are.</summary>
/// <param name="Shard">The shard.</param>
/// <param name="LossSum">Sum of its samples' losses.</param>
/// <param name="SquaredNorm">Sum of the squares of its gradient's numbers, in float64.</param>
/// <param name="Checksum">Checksum of the gradient's bits and their places.</param>
public readonly record struct ShardClaim(int Shard, double LossSum, double SquaredNorm, ulong Checksum)
{
    private const ulong Prime = 0x9E3779B97F4A7C15;

    /// <summary>Whether loss and gradient are numbers.</summary>
    public bool IsFinite => double.IsFinite(LossSum) && double.IsFinite(SquaredNorm);

    /// <summary>The claim about a shard. It has the same bits on every processor.</summary>
    /// <param name="shard">The shard.</param>
    /// <param name="lossSum">Sum of its samples' losses.</param>
    /// <param name="gradient">Its gradient, P numbers.</param>
    public static ShardClaim Of(int shard, double lossSum, ReadOnlySpan<float> gradient)
    {
        var sums = default(Lanes);
        ReadOnlySpan<Vector256<float>> vectors = MemoryMarshal.Cast<float, Vector256<float>>(gradient);
        foreach (Vector256<float> vector in vectors)
        {
            sums.Add(vector);
        }

        Span<float> rest = stackalloc float[Vector256<float>.Count];
        rest.Clear();
        gradient[(vectors.Length * Vector256<float>.Count)..].CopyTo(rest);
        sums.Add(Vector256.Create<float>(rest));
        return new ShardClaim(shard, lossSum, sums.SquaredNorm, sums.Checksum);
    }

    // Always eight lanes, whatever the processor has, because the order of additions decides about the bits. The
    // checksum is Fletcher's, lane by lane, on the numbers' bits.
    private struct Lanes
    {
        private Vector256<double> _squaresLow, _squaresHigh;
        private Vector256<ulong> _sumLow, _sumHigh, _placedLow, _placedHigh;

        public readonly double SquaredNorm
        {
            get
            {
                double sum = 0;
                for (int lane = 0; lane < Vector256<double>.Count; lane++)
                {
                    sum += _squaresLow[lane];
                    sum += _squaresHigh[lane];
                }

                return sum;
            }
        }

        public readonly ulong Checksum
        {
            get
            {
                ulong all = 0;
                foreach (Vector256<ulong> part in (ReadOnlySpan<Vector256<ulong>>)
                    [_sumLow, _sumHigh, _placedLow, _placedHigh])
                {
                    for (int lane = 0; lane < Vector256<ulong>.Count; lane++)
                    {
                        all = (all * Prime) + part[lane];
                    }
                }

                return all;
            }
        }

        public void Add(Vector256<float> numbers)
        {
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(numbers);
            _squaresLow += low * low;
            _squaresHigh += high * high;
            (Vector256<ulong> bitsLow, Vector256<ulong> bitsHigh) = Vector256.Widen(numbers.AsUInt32());
            _sumLow += bitsLow;
            _sumHigh += bitsHigh;
            _placedLow += _sumLow;
            _placedHigh += _sumHigh;
        }
    }
}

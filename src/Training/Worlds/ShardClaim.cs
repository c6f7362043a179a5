// A trainer's claim about a shard that it computed: a summary short enough to be sent with every batch. Another trainer
// that computes the same shard makes the same claim, or one of the two is wrong.
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Atelier.Training.Worlds;

/// <summary>A summary of a shard's sums. Two claims are equal only if all bits of the gradients are equal.</summary>
/// <param name="Shard">Index of the shard.</param>
/// <param name="LossSum">Sum of the losses of the shard's samples.</param>
/// <param name="SquaredNorm">Sum of the squares of the gradient's numbers, in float64.</param>
/// <param name="Checksum">Checksum of the bits of the gradient's numbers and of their order.</param>
public readonly record struct ShardClaim(int Shard, double LossSum, double SquaredNorm, ulong Checksum)
{
    /// <summary>Whether loss and gradient are finite.</summary>
    public bool IsFinite => double.IsFinite(LossSum) && double.IsFinite(SquaredNorm);

    /// <summary>Computes the claim about a shard. The result has the same bits on every processor.</summary>
    /// <param name="shard">Index of the shard.</param>
    /// <param name="lossSum">Sum of the losses of the shard's samples.</param>
    /// <param name="gradient">The shard's gradient, P numbers.</param>
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

    // Always eight lanes, whatever vector width the processor has, because the order of additions determines the bits
    // of the sum. The checksum is Fletcher's, computed for each lane on the bits of the numbers.
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
                        all = (all * SplitMix64.Gamma) + part[lane];
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

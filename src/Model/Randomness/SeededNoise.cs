// The source of all random numbers. A number is a function of (seed, purpose, index, position) only, independent of the
// device, the batch, the number of workers, the libtorch build and restarts.
using Atelier.Training;

namespace Atelier.Model.Randomness;

/// <summary>
/// The purpose of a stream of random numbers. The values are part of the meaning of a seed, so they must never change.
/// </summary>
public enum NoisePurpose
{
    /// <summary>The start latent of a generation; the index is 0.</summary>
    StartLatent = 1,

    /// <summary>Churn noise; the index is the step.</summary>
    Churn = 2,

    /// <summary>Noise level of a training sample; the index is the sample's position in the run.</summary>
    NoiseLevel = 3,

    /// <summary>Noise on a training sample's latent; the index is the sample's position in the run.</summary>
    TrainingNoise = 4,

    /// <summary>The mask of a training sample's patches; the index is the sample's position in the run.</summary>
    PatchMask = 5,

    /// <summary>
    /// Whether a training sample's caption is dropped; the index is the sample's position in the run.
    /// </summary>
    CaptionDrop = 6,

    /// <summary>The order of samples; the index is the epoch.</summary>
    SampleOrder = 7,

    /// <summary>Initial weights; the index is a hash of the parameter's name.</summary>
    InitialWeights = 8,

    /// <summary>A draw from the latent distribution of an encoded picture; the index is the picture's index.</summary>
    LatentSample = 9,
}

/// <summary>
/// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011) under a key hashed from seed, purpose and index.
/// </summary>
public static class SeededNoise
{
    /// <summary>Fills the destination with uniform numbers in [0, 1), multiples of 2⁻²⁴.</summary>
    public static void Uniform(ulong seed, NoisePurpose purpose, long index, Span<float> destination)
    {
        ulong key = Key(seed, purpose, index);
        for (int i = 0; i < destination.Length; i += 4)
        {
            (uint a, uint b, uint c, uint d) = Philox(key, (ulong)i / 4);
            Put(destination, i, Unit(a), Unit(b), Unit(c), Unit(d));
        }

        static float Unit(uint bits) => (bits >> 8) * (1f / (1 << 24));
    }

    /// <summary>
    /// Fills the destination with standard normal numbers, by the Box-Muller transform in float64, rounded to float32.
    /// </summary>
    public static void Normal(ulong seed, NoisePurpose purpose, long index, Span<float> destination)
    {
        ulong key = Key(seed, purpose, index);
        for (int i = 0; i < destination.Length; i += 4)
        {
            (uint a, uint b, uint c, uint d) = Philox(key, (ulong)i / 4);
            (float x, float y) = Pair(a, b);
            (float z, float w) = Pair(c, d);
            Put(destination, i, x, y, z, w);
        }

        static (float, float) Pair(uint a, uint b)
        {
            double radius = Math.Sqrt(-2 * Math.Log((a + 1.0) / 4294967296.0)); // (0, 1]: the logarithm is finite.
            (double sine, double cosine) = Math.SinCos(2 * Math.PI * (b / 4294967296.0));
            return ((float)(radius * cosine), (float)(radius * sine));
        }
    }

    /// <summary>A uniformly random order of 0..count-1 (Fisher and Yates).</summary>
    public static int[] Permutation(ulong seed, NoisePurpose purpose, long index, int count)
    {
        ulong key = Key(seed, purpose, index);
        var order = new int[count];
        for (int i = 0; i < count; i++)
        {
            order[i] = i;
        }

        for (int i = count - 1; i > 0; i--)
        {
            (uint a, uint b, _, _) = Philox(key, (ulong)i);
            int other = (int)Math.BigMul(((ulong)a << 32) | b, (ulong)i + 1, out _);
            (order[i], order[other]) = (order[other], order[i]);
        }

        return order;
    }

    /// <summary>
    /// A 64-bit key in which every bit depends on every bit of seed, purpose and index (SplitMix64's finalizer).
    /// </summary>
    internal static ulong Key(ulong seed, NoisePurpose purpose, long index) =>
        SplitMix64.Mix(
            SplitMix64.Mix(SplitMix64.Mix(seed + SplitMix64.Gamma) + (ulong)purpose) + (ulong)index);

    internal static (uint A, uint B, uint C, uint D) Philox(ulong key, ulong counter)
    {
        (uint a, uint b, uint c, uint d) = ((uint)counter, (uint)(counter >> 32), 0u, 0u);
        (uint k0, uint k1) = ((uint)key, (uint)(key >> 32));
        for (int round = 0; round < 10; round++)
        {
            ulong p = 0xD2511F53UL * a, q = 0xCD9E8D57UL * c;
            (a, b, c, d) = ((uint)(q >> 32) ^ b ^ k0, (uint)q, (uint)(p >> 32) ^ d ^ k1, (uint)p);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }

        return (a, b, c, d);
    }

    private static void Put(Span<float> destination, int at, float a, float b, float c, float d)
    {
        Span<float> four = [a, b, c, d];
        four[..Math.Min(4, destination.Length - at)].CopyTo(destination[at..]);
    }
}

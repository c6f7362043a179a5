// A mixing function for 64-bit numbers.
namespace Atelier.Training;

/// <summary>SplitMix64 (Steele, Lea and Flood, 2014).</summary>
public static class SplitMix64
{
    /// <summary>The increment between the generator's states, which the finalizer mixes.</summary>
    public const ulong Gamma = 0x9E3779B97F4A7C15;

    /// <summary>The finalizer: every bit of the result depends on every bit of the argument.</summary>
    public static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}

// Random choices of the demo world: one endless sequence for each (seed, purpose, index), on the system's counter-based
// numbers. Neither order nor thread matters.
using Atelier.Model.Randomness;

namespace Atelier.Shapes.Scenes;

/// <summary>What a sequence is for. The values are part of what a seed means: they never change.</summary>
internal static class Purpose
{
    public const int HeldOut = 100;
    public const int Backdrop = 101;
    public const int Strokes = 102;
    public const int Caption = 103;
    public const int Spoiling = 104;
    public const int Mixture = 105;
    public const int Variation = 106;
    public const int Details = 107;

    /// <summary>The first of the scenes' purposes; one for each task, seen and held out.</summary>
    public const int Scene = 120;
}

/// <summary>An endless sequence of choices. For one thread.</summary>
internal sealed class DrawStream
{
    private const int LengthMax = 1 << 20;

    private readonly ulong _seed;
    private readonly int _purpose;
    private readonly long _index;
    private float[] _numbers = new float[64];
    private int _next;

    public DrawStream(ulong seed, int purpose, long index)
    {
        (_seed, _purpose, _index) = (seed, purpose, index);
        Fill();
    }

    /// <summary>A number in [0, 1).</summary>
    public double Next()
    {
        if (_next == _numbers.Length)
        {
            if (_next == LengthMax)
            {
                throw new InvalidOperationException($"A sequence of choices ended after {LengthMax} numbers.");
            }

            _numbers = new float[_numbers.Length * 2]; // Its first half is what it was.
            Fill();
        }

        return _numbers[_next++];
    }

    /// <summary>A number in [low, high).</summary>
    public double Between(double low, double high) => low + ((high - low) * Next());

    /// <summary>A whole number in [0, count).</summary>
    public int Below(int count) => (int)(Next() * count);

    /// <summary>True in this part of the cases.</summary>
    public bool Chance(double part) => Next() < part;

    /// <summary>One of several, each as likely as the others.</summary>
    public T Pick<T>(params ReadOnlySpan<T> choices) => choices[Below(choices.Length)];

    /// <summary>An index, as likely as its weight.</summary>
    public int Weighted(params ReadOnlySpan<double> weights)
    {
        double sum = 0;
        foreach (double weight in weights)
        {
            sum += weight;
        }

        double at = Next() * sum;
        for (int i = 0; i < weights.Length - 1; i++)
        {
            at -= weights[i];
            if (at < 0)
            {
                return i;
            }
        }

        return weights.Length - 1;
    }

    private void Fill() => SeededNoise.Uniform(_seed, (NoisePurpose)_purpose, _index, _numbers);
}

// Random choices of the demo world: one endless sequence for each (seed, purpose, index). The numbers come from this
// project's counter-based generator, so they do not depend on order or threads.
using Atelier.Model.Randomness;

namespace Atelier.Shapes.Scenes;

/// <summary>The purpose of a sequence. The meaning of a seed depends on the values, so they never change.</summary>
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
    public const int Binding = 108;

    /// <summary>The first of the purposes for scenes: there is one for each task, seen and held out.</summary>
    public const int Scene = 120;
}

/// <summary>An endless sequence of choices. Not thread-safe.</summary>
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
                throw new InvalidOperationException($"A sequence of choices exceeded {LengthMax} numbers.");
            }

            _numbers = new float[_numbers.Length * 2]; // Its first half stays the same.
            Fill();
        }

        return _numbers[_next++];
    }

    /// <summary>A number in [low, high).</summary>
    public double Between(double low, double high) => low + ((high - low) * Next());

    /// <summary>An integer in [0, count).</summary>
    public int Below(int count) => (int)(Next() * count);

    /// <summary>True with the given probability.</summary>
    public bool Chance(double part) => Next() < part;

    /// <summary>One of several choices with equal probability.</summary>
    public T Pick<T>(params ReadOnlySpan<T> choices) => choices[Below(choices.Length)];

    /// <summary>An index, with a probability proportional to its weight.</summary>
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

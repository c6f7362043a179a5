// Mixtures of streams: how often each sample of each stream occurs in an epoch. The terms are those of
// mosaicml/streaming.
using System.Globalization;

namespace Atelier.Training;

/// <summary>How a stream's part of an epoch is given.</summary>
public enum StreamShareKind
{
    /// <summary>The stream occurs this many times.</summary>
    Repeat,

    /// <summary>
    /// This share of the epoch's samples are of the stream; the epoch has as many as all streams together.
    /// </summary>
    Proportion,

    /// <summary>This number of samples are of the stream.</summary>
    Choose,
}

/// <summary>A stream's part of an epoch.</summary>
/// <param name="Kind">What the value means.</param>
/// <param name="Value">The value.</param>
public readonly record struct StreamShare(StreamShareKind Kind, double Value)
{
    /// <summary>Every sample once.</summary>
    public static StreamShare Whole { get; } = new(StreamShareKind.Repeat, 1);
}

/// <summary>
/// A mixture of streams. A stream of n samples of which k are chosen has every sample k / n times, rounded down, and
/// some of them once more: blocks of consecutive samples, others in every epoch. What is chosen is a function of (seed,
/// epoch) alone.
/// </summary>
public sealed class StreamMix
{
    private readonly int[] _samples, _chosen;

    private StreamMix(int[] samples, int[] chosen)
    {
        (_samples, _chosen) = (samples, chosen);
        Count = Sum(chosen);
    }

    /// <summary>Number of samples of each stream in an epoch.</summary>
    public IReadOnlyList<int> Chosen => _chosen;

    /// <summary>Number of samples in an epoch.</summary>
    public int Count { get; }

    /// <summary>Whether every sample of every stream occurs once.</summary>
    public bool IsPlain => _samples.AsSpan().SequenceEqual(_chosen);

    /// <summary>What the mixture is, as a part of a run's identity; null if it is plain.</summary>
    public string? Name => IsPlain ? null : string.Join(", ", _samples.Zip(_chosen, (samples, chosen) =>
        string.Create(CultureInfo.InvariantCulture, $"{chosen} of {samples}")));

    /// <summary>Data in which every sample occurs once.</summary>
    public static StreamMix Plain(params int[] samples) => new(samples, samples);

    /// <summary>Resolves the parts of an epoch.</summary>
    /// <param name="samples">Number of samples of each stream.</param>
    /// <param name="shares">
    /// The part of each stream. Proportions sum to 1, and either all or none are proportions.
    /// </param>
    /// <exception cref="ArgumentException">A stream has no sample in an epoch, or an epoch is too large.</exception>
    public static StreamMix Of(IReadOnlyList<int> samples, IReadOnlyList<StreamShare> shares)
    {
        long all = samples.Sum(one => (long)one);
        double[] exact =
        [
            .. shares.Select((share, i) => share.Kind switch
            {
                StreamShareKind.Proportion => share.Value * all,
                StreamShareKind.Choose => share.Value,
                _ => share.Value * samples[i],
            }),
        ];
        double sum = exact.Sum();
        if (sum > int.MaxValue)
        {
            throw new ArgumentException(
                $"an epoch has {sum:f0} samples; the maximum is {int.MaxValue}.", nameof(shares));
        }

        int[] chosen = [.. exact.Select(one => (int)Math.Floor(one + 1e-6))];

        // What rounding leaves of an epoch of proportions goes to the streams that lost the most.
        long rest = shares.Count > 0 && shares[0].Kind == StreamShareKind.Proportion ? all - chosen.Sum() : 0;
        foreach (int i in Enumerable.Range(0, chosen.Length).OrderByDescending(i => exact[i] - chosen[i])
            .Take((int)rest))
        {
            chosen[i]++;
        }

        int none = Array.IndexOf(chosen, 0);
        return none < 0 ? new StreamMix([.. samples], chosen) : throw new ArgumentException(
            $"stream {none} has {samples[none]} samples, of which an epoch would have none.", nameof(shares));
    }

    /// <summary>
    /// The samples of an epoch before they are shuffled: indices in the concatenation of all streams, stream by stream.
    /// </summary>
    public int[] Epoch(ulong seed, long epoch)
    {
        int[] all = new int[Count];
        for (int stream = 0, first = 0, at = 0; stream < _samples.Length; first += _samples[stream++])
        {
            (int repeats, int rest) = Math.DivRem(_chosen[stream], _samples[stream]);
            for (int i = 0; i < repeats * _samples[stream]; i++)
            {
                all[at++] = first + (i % _samples[stream]);
            }

            foreach (int sample in BlockOrder.Part(seed, epoch, stream, _samples[stream], rest))
            {
                all[at++] = first + sample;
            }
        }

        return all;
    }

    private static int Sum(int[] counts)
    {
        long sum = counts.Sum(one => (long)one);
        return sum <= int.MaxValue
            ? (int)sum : throw new ArgumentException($"an epoch has {sum} samples; the maximum is {int.MaxValue}.");
    }
}

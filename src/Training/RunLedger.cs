// What of a run's order was not trained on: whole batches, and single samples of batches that were.
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>Why a batch is not in the weights.</summary>
public enum SkippedBecause
{
    /// <summary>Its loss or gradient was no finite number, or far too large.</summary>
    Loss,

    /// <summary>The same, and the loss of one sample alone accounts for it.</summary>
    OneSample,

    /// <summary>None of its samples could be trained on.</summary>
    NoSample,

    /// <summary>It was applied, but the run went back to weights from before it.</summary>
    Undone,
}

/// <summary>A slice of the run's order that was not trained on, and why.</summary>
/// <param name="Step">The batch whose samples were left out.</param>
/// <param name="Reason">Why.</param>
/// <param name="Because">The same for programs.</param>
public sealed record SkippedSlice(
    long Step, string Reason,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    SkippedBecause Because = SkippedBecause.Loss);

/// <summary>A sample that cannot be trained on.</summary>
/// <param name="Sample">Its number in the data.</param>
/// <param name="Column">What of it is at fault.</param>
/// <param name="Value">The first value there that is not finite: "NaN", "infinity" or "-infinity".</param>
public sealed record BadSample(int Sample, string Column, string Value);

/// <summary>A sample that is left out of every batch that would hold it.</summary>
/// <param name="Sample">Its number in the run's data.</param>
/// <param name="Place">Where it lies: its set and its number there.</param>
/// <param name="Column">What of it is at fault.</param>
/// <param name="Value">The first value there that is not finite.</param>
/// <param name="Step">The first batch that was without it.</param>
/// <param name="Times">Batches so far that were without it.</param>
public sealed record LeftOutSample(int Sample, string Place, string Column, string Value, long Step, long Times);

/// <summary>Samples that were left out of batches. No run lists more than <see cref="ListedMax"/> of them.</summary>
/// <param name="Times">How often one was, those that are not listed included.</param>
/// <param name="Samples">The first ones, in the order in which the run met them.</param>
public sealed record LeftOutSamples(long Times, IReadOnlyList<LeftOutSample> Samples)
{
    /// <summary>Most samples that are listed; the others are counted.</summary>
    public const int ListedMax = 1000;

    /// <summary>Nothing was left out.</summary>
    public static LeftOutSamples None { get; } = new(0, []);

    /// <summary>These and those of one more batch.</summary>
    /// <param name="step">The batch.</param>
    /// <param name="samples">Its samples that were left out, in the run's order.</param>
    /// <param name="place">Gives the place of a sample, for those that are new.</param>
    /// <returns>The whole, and those of it that are new and listed.</returns>
    public (LeftOutSamples All, IReadOnlyList<LeftOutSample> New) With(
        long step, IReadOnlyList<BadSample> samples, Func<int, string> place)
    {
        if (samples.Count == 0)
        {
            return (this, []);
        }

        List<LeftOutSample> all = [.. Samples];
        foreach (BadSample sample in samples)
        {
            int at = all.FindIndex(known => known.Sample == sample.Sample);
            if (at >= 0)
            {
                all[at] = all[at] with { Times = all[at].Times + 1 };
            }
            else if (all.Count < ListedMax)
            {
                all.Add(new LeftOutSample(
                    sample.Sample, place(sample.Sample), sample.Column, sample.Value, step, 1));
            }
        }

        return (new LeftOutSamples(Times + samples.Count, all), all[Samples.Count..]);
    }
}

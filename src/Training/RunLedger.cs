// The ledger of what was not trained on: whole batches, and single samples of batches that were.
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>The reason why a batch is not in the weights.</summary>
public enum SkippedBecause
{
    /// <summary>Its loss or gradient was not finite, or far too large.</summary>
    Loss,

    /// <summary>As <see cref="Loss"/>, and the loss of one sample alone accounts for it.</summary>
    OneSample,

    /// <summary>None of its samples could be trained on.</summary>
    NoSample,

    /// <summary>It was applied and then undone by a rollback.</summary>
    Undone,
}

/// <summary>A slice of the sample order that was not trained on, and why.</summary>
/// <param name="Step">The batch whose samples were left out.</param>
/// <param name="Reason">The reason, for people.</param>
/// <param name="Because">The reason, for programs.</param>
public sealed record SkippedSlice(
    long Step, string Reason,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    SkippedBecause Because = SkippedBecause.Loss);

/// <summary>A sample that cannot be trained on.</summary>
/// <param name="Sample">Its index in the data.</param>
/// <param name="Column">The column at fault.</param>
/// <param name="Value">The first value there that is not finite: "NaN", "infinity" or "-infinity".</param>
public sealed record BadSample(int Sample, string Column, string Value);

/// <summary>A sample that is left out of every batch it would be in.</summary>
/// <param name="Sample">Its index in the run's data.</param>
/// <param name="Place">Its location: the data set and its index there.</param>
/// <param name="Column">The column at fault.</param>
/// <param name="Value">The first value there that is not finite.</param>
/// <param name="Step">The first batch that left it out.</param>
/// <param name="Times">Number of batches so far that left it out.</param>
public sealed record LeftOutSample(int Sample, string Place, string Column, string Value, long Step, long Times);

/// <summary>Samples that were left out of batches. No run lists more than <see cref="ListedMax"/> of them.</summary>
/// <param name="Times">Number of times that any sample was left out, unlisted ones included.</param>
/// <param name="Samples">The first ones, in the order in which the run encountered them.</param>
public sealed record LeftOutSamples(long Times, IReadOnlyList<LeftOutSample> Samples)
{
    /// <summary>Maximum number of samples listed; further ones are only counted.</summary>
    public const int ListedMax = 1000;

    /// <summary>No sample was left out.</summary>
    public static LeftOutSamples None { get; } = new(0, []);

    /// <summary>Adds the samples that one more batch left out.</summary>
    /// <param name="step">The batch.</param>
    /// <param name="samples">Its samples that were left out, in the run's order.</param>
    /// <param name="place">Gives the location of a sample; called for new ones only.</param>
    /// <returns>All of them, and those that are newly listed.</returns>
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

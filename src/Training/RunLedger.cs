// The ledger of the data that a run did not train on: whole batches, and single samples of the other batches.
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>The reason why a batch is not in the weights.</summary>
public enum SkippedBecause
{
    /// <summary>The batch's loss or gradient was not finite, or far too large.</summary>
    Loss,

    /// <summary>The same as <see cref="Loss"/>, but the loss of a single sample explains it.</summary>
    OneSample,

    /// <summary>None of the batch's samples could be trained on.</summary>
    NoSample,

    /// <summary>The batch was applied and then undone by a rollback.</summary>
    Undone,
}

/// <summary>A slice of the sample order that was not trained on, and why.</summary>
/// <param name="Step">Number of the batch whose samples were not trained on.</param>
/// <param name="Reason">The reason, as text for people.</param>
/// <param name="Because">The reason, as a value for programs.</param>
public sealed record SkippedSlice(
    long Step, string Reason,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    SkippedBecause Because = SkippedBecause.Loss);

/// <summary>A sample that cannot be trained on.</summary>
/// <param name="Sample">Index of the sample in the data.</param>
/// <param name="Column">Name of the column that has a value that is not finite.</param>
/// <param name="Value">The first value in that column that is not finite: "NaN", "infinity" or "-infinity".</param>
public sealed record BadSample(int Sample, string Column, string Value);

/// <summary>A sample that is left out of every batch that would contain it.</summary>
/// <param name="Sample">Index of the sample in the run's data.</param>
/// <param name="Place">Location of the sample: its data set, and its index in that data set.</param>
/// <param name="Column">Name of the column that has a value that is not finite.</param>
/// <param name="Value">The first value in that column that is not finite.</param>
/// <param name="Step">Number of the first batch that left the sample out.</param>
/// <param name="Times">Number of batches so far that left the sample out.</param>
public sealed record LeftOutSample(int Sample, string Place, string Column, string Value, long Step, long Times);

/// <summary>Samples that were left out of batches. At most <see cref="ListedMax"/> of them are listed.</summary>
/// <param name="Times">Number of times that any sample was left out, unlisted ones included.</param>
/// <param name="Samples">The first samples that were left out, in the order in which the run encountered them.</param>
public sealed record LeftOutSamples(long Times, IReadOnlyList<LeftOutSample> Samples)
{
    /// <summary>Maximum number of samples listed; further samples are only counted.</summary>
    public const int ListedMax = 1000;

    /// <summary>The empty list: no sample was left out.</summary>
    public static LeftOutSamples None { get; } = new(0, []);

    /// <summary>Adds the samples that one more batch left out.</summary>
    /// <param name="step">Number of the batch.</param>
    /// <param name="samples">The batch's samples that were left out, in the run's order.</param>
    /// <param name="place">Gives the location of a sample; called only for samples that are not listed yet.</param>
    /// <returns>The updated list, and the samples that are new in it.</returns>
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

// What becomes of a stage's batches: pure functions of a run's position and of a batch in numbers, so that every
// replica and every resumed run decides alike.
using System.Globalization;

namespace Atelier.Training;

/// <summary>What follows from a batch.</summary>
/// <param name="Verdict">Whether it is applied.</param>
/// <param name="Position">
/// Where the run is after it. A run that goes back does so by <see cref="StageRules.GoBack"/>, and is here where it
/// was.
/// </param>
public sealed record StepDecision(StepVerdict Verdict, RunPosition Position)
{
    /// <summary>The batch's entry for the ledger, unless it is applied.</summary>
    public SkippedSlice? Slice { get; init; }

    /// <summary>What people should know, as sentences.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];

    /// <summary>How the run ends here, or null.</summary>
    public TrainingFailedException? Failure { get; init; }
}

/// <summary>The rules of a stage.</summary>
/// <param name="Name">Name of the stage, for messages.</param>
/// <param name="Steps">Batches of the stage.</param>
/// <param name="GlobalBatch">Samples of a batch.</param>
/// <param name="SaveInterval">Batches between checkpoints.</param>
/// <param name="Policy">When a batch is refused.</param>
public sealed record StageRules(string Name, long Steps, int GlobalBatch, long SaveInterval, StepPolicy Policy)
{
    /// <summary>
    /// Part of a stage's batches that must be in the weights at its end, and of its samples that must not be left out;
    /// below it the stage has failed and has no result.
    /// </summary>
    public const double PartAppliedMin = 0.5;

    /// <summary>Name of the file that tells a stage's story.</summary>
    public const string ReportFile = "report.md";

    // Samples left out that a person is told of as the run meets them; the report lists more.
    private const int NamedMax = 20;

    private const string Again = "Then train it in another folder, since this one is at its end.";

    /// <summary>Decides on the batch that the run is at.</summary>
    /// <param name="position">Where the run is.</param>
    /// <param name="batch">The batch.</param>
    /// <param name="place">Says where a sample is, for messages.</param>
    public StepDecision Decide(RunPosition position, BatchOutcome batch, Func<int, string> place)
    {
        var remarks = new List<string>();
        LeftOutSamples leftOut = Note(position, batch.LeftOut, place, remarks);

        // A batch without samples says nothing of the weights.
        (StepVerdict verdict, PolicyMemory memory) = batch.Samples == 0
            ? (StepVerdict.Skip, position.Memory)
            : Policy.Decide(batch.Loss, batch.GradientNorm, position.Memory);
        position = position with { Memory = memory, LeftOut = leftOut.Times == 0 ? null : leftOut };
        long step = position.Step;
        if (verdict == StepVerdict.Apply)
        {
            RunPosition applied = position with { Step = step + 1, Updates = position.Updates + 1 };
            return new StepDecision(verdict, applied) { Remarks = remarks };
        }

        SkippedSlice slice = SliceOf(step, batch, place);
        if (verdict == StepVerdict.GoBack)
        {
            return new StepDecision(verdict, position)
            {
                Slice = slice,
                Remarks = remarks,
                Failure = memory.Returns < Policy.ReturnsMax ? null : new TrainingDivergedException(
                    $"{Name} has gone back {memory.Returns} times and diverges again at step {step}: "
                    + Advice(position, slice)),
            };
        }

        remarks.Add(Invariant($"step {step} is skipped: {slice.Reason}"));
        RunPosition skipped = position with { Step = step + 1, Ledger = [.. position.Ledger, slice] };
        return new StepDecision(verdict, skipped) { Slice = slice, Remarks = remarks, Failure = EmptyRow(skipped) };
    }

    /// <summary>
    /// The run with the weights of its last planned checkpoint: the slices since then are not trained on again, but are
    /// in the ledger.
    /// </summary>
    /// <param name="position">Where the run is.</param>
    /// <param name="now">The batch that it goes back for, which is the one that it is at.</param>
    /// <param name="last">Position of the checkpoint, or null if there is none.</param>
    /// <returns>Where the run is after this batch, and what people should know.</returns>
    /// <exception cref="TrainingDivergedException">There is no checkpoint.</exception>
    public (RunPosition Position, string Remark) GoBack(RunPosition position, SkippedSlice now, RunPosition? last)
    {
        long step = now.Step;
        if (last is null)
        {
            throw new TrainingDivergedException(
                $"{Name} diverged at step {step}, before its first checkpoint: {Advice(position, now)}");
        }

        string went = $"the run went back to step {last.Step}";
        var known = position.Ledger.Where(slice => slice.Step >= last.Step).ToDictionary(slice => slice.Step);
        known.Add(step, now with { Reason = $"{now.Reason}; {went}" });
        List<SkippedSlice> ledger = [.. position.Ledger.Where(slice => slice.Step < last.Step)];
        for (long lost = last.Step; lost <= step; lost++)
        {
            ledger.Add(known.GetValueOrDefault(lost) ?? new SkippedSlice(lost, went, SkippedBecause.Undone));
        }

        RunPosition back = position with
        {
            Step = step + 1,
            Updates = last.Updates,
            Memory = last.Memory with { Returns = position.Memory.Returns + 1 },
            Ledger = ledger,
        };
        return (
            back,
            $"step {step}: the run went back to the weights of step {last.Step}, and skips the "
            + $"{step + 1 - last.Step} batches since");
    }

    /// <summary>
    /// Whether a checkpoint of the plan follows a batch: at every interval's end, but not among batches that are
    /// skipped, since what they lead back to must be before them.
    /// </summary>
    /// <param name="verdict">What became of the batch.</param>
    /// <param name="stepsDone">Batches behind the run.</param>
    /// <param name="lastPlanned">Step of the last checkpoint of the plan.</param>
    public bool IsCheckpointDue(StepVerdict verdict, long stepsDone, long lastPlanned) =>
        verdict == StepVerdict.GoBack
        || (verdict == StepVerdict.Apply && stepsDone / SaveInterval > lastPlanned / SaveInterval);

    /// <summary>Why a run that has reached its end has no result, or null if it has one.</summary>
    public TrainingFailedException? Failure(RunPosition end)
    {
        LeftOutSamples leftOut = end.LeftOut ?? LeftOutSamples.None;
        string bad = leftOut.Times == 0 ? "" : $" {BadData(end)}";
        if (end.Applied < PartAppliedMin * end.Step)
        {
            return new TrainingFailedException(
                $"{Name}: only {end.Applied} of {end.Step} batches are in the weights, {end.Skipped} were skipped and "
                + $"{end.Undone} undone; a stage needs half of them, and has no result without. {ReportFile} "
                + $"says why each is missing.{bad} {Again}");
        }

        return leftOut.Times <= (1 - PartAppliedMin) * end.Step * GlobalBatch ? null : new TrainingFailedException(
            $"{Name}: {leftOut.Times} of {end.Step * GlobalBatch} samples were left out; a stage needs half of them, "
            + $"and has no result without.{bad} {Again}");
    }

    private static LeftOutSamples Note(
        RunPosition position, IReadOnlyList<BadSample> samples, Func<int, string> place, List<string> remarks)
    {
        LeftOutSamples before = position.LeftOut ?? LeftOutSamples.None;
        (LeftOutSamples all, IReadOnlyList<LeftOutSample> added) = before.With(position.Step, samples, place);
        remarks.AddRange(added.Take(Math.Max(0, NamedMax - before.Samples.Count)).Select(sample =>
            $"{sample.Place}: {sample.Column} holds {sample.Value}; the sample is left out of every batch"));
        if (before.Samples.Count <= NamedMax && all.Samples.Count > NamedMax)
        {
            remarks.Add($"more than {NamedMax} samples are left out; the others are in the report");
        }

        return all;
    }

    // What one sample alone brings about, the data is to blame for, and not the training.
    private static SkippedSlice SliceOf(long step, BatchOutcome batch, Func<int, string> place)
    {
        if (batch.Samples == 0)
        {
            return new SkippedSlice(
                step, $"none of its {batch.LeftOut.Count} samples can be trained on", SkippedBecause.NoSample);
        }

        string reason = Invariant($"loss {batch.Loss:g4}, gradient norm {batch.GradientNorm:g4}");
        bool isFew = batch.NotFinite > 0
            ? 2 * batch.NotFinite < batch.Samples : double.IsFinite(batch.Loss) && batch.Samples > 2;
        bool isOne = isFew && batch.Largest is { } largest
            && (!float.IsFinite(largest.Loss) || largest.Loss > batch.LossSum / 2);
        return isOne
            ? new SkippedSlice(
                step,
                Invariant($"{reason}; {place(batch.Largest!.Sample)} alone has a loss of {batch.Largest.Loss:g4}"),
                SkippedBecause.OneSample)
            : new SkippedSlice(step, reason);
    }

    // As many batches in a row as the policy bears of other bad ones.
    private TrainingFailedException? EmptyRow(RunPosition position)
    {
        IReadOnlyList<SkippedSlice> ledger = position.Ledger;
        long step = position.Step - 1;
        int row = 0;
        while (row < ledger.Count && ledger[^(row + 1)] is { Because: SkippedBecause.NoSample } slice
            && slice.Step == step - row)
        {
            row++;
        }

        return row <= Policy.Patience ? null : new TrainingFailedException(
            $"{Name}: the last {row} batches, to step {step}, hold no sample that can be trained on. "
            + BadData(position));
    }

    private static string BadData(RunPosition position) => position.LeftOut is { Samples: [var first, ..] }
        ? $"{first.Place}: {first.Column} holds {first.Value}, as the first of them; make these latents anew."
        : "";

    // Where single samples are to blame, or no update was ever made, the learning rate is not.
    private static string Advice(RunPosition position, SkippedSlice now)
    {
        SkippedSlice[] row =
        [
            .. position.Ledger.Where(slice => slice.Because != SkippedBecause.NoSample)
                .TakeLast(position.Memory.SkippedInARow - 1),
            now,
        ];
        return row.Count(slice => slice.Because == SkippedBecause.OneSample) > row.Length / 2
            ? $"single samples are to blame, the last one thus: {now.Reason}. Look at them in the data."
            : position.Memory.Applied == 0
                ? "no update was made so far, so the weights that it starts from, or model.dtype, give no finite loss."
                : "a lower learning rate or a longer warm-up would be right.";
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

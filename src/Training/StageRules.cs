// The rules of a stage: pure functions of the run's position and a batch's totals, so that all replicas and resumed
// runs make the same decisions.
using System.Globalization;

namespace Atelier.Training;

/// <summary>The decision on a batch.</summary>
/// <param name="Verdict">Whether the batch is applied, skipped or rolled back.</param>
/// <param name="Position">
/// The position after the batch. For a rollback it is still the old one: <see cref="StageRules.RollBack"/> returns the
/// new one.
/// </param>
public sealed record StepDecision(StepVerdict Verdict, RunPosition Position)
{
    /// <summary>The batch's ledger entry; null if it is applied.</summary>
    public SkippedSlice? Slice { get; init; }

    /// <summary>Messages for the operator, as sentences.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];

    /// <summary>Why the run ends here; null if it continues.</summary>
    public TrainingFailedException? Failure { get; init; }
}

/// <summary>The rules of a stage.</summary>
/// <param name="Name">Name of the stage, for messages.</param>
/// <param name="Steps">Number of batches in the stage.</param>
/// <param name="GlobalBatch">Number of samples in a batch.</param>
/// <param name="SaveInterval">Number of batches between planned checkpoints.</param>
/// <param name="Policy">The policy that decides on each batch.</param>
public sealed record StageRules(string Name, long Steps, int GlobalBatch, long SaveInterval, StepPolicy Policy)
{
    /// <summary>
    /// Minimum fraction of a stage's batches that must be in the weights at its end, and of its samples that must not
    /// be left out. Below it the stage has failed and has no result.
    /// </summary>
    public const double PartAppliedMin = 0.5;

    /// <summary>File name of a stage's report.</summary>
    public const string ReportFile = "report.md";

    // Maximum number of left-out samples that are announced during the run; the report lists more.
    private const int NamedMax = 20;

    private const string Again =
        "Fix the cause, then train the stage in another folder: the run in this folder has ended.";

    /// <summary>Decides on the next batch.</summary>
    /// <param name="position">The position before the batch.</param>
    /// <param name="batch">The batch's totals.</param>
    /// <param name="place">Gives the location of a sample, for messages.</param>
    public StepDecision Decide(RunPosition position, BatchOutcome batch, Func<int, string> place)
    {
        var remarks = new List<string>();
        LeftOutSamples leftOut = Note(position, batch.LeftOut, place, remarks);

        // A batch without samples says nothing about the weights.
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
        if (verdict == StepVerdict.RollBack)
        {
            return new StepDecision(verdict, position)
            {
                Slice = slice,
                Remarks = remarks,
                Failure = memory.Returns < Policy.ReturnsMax ? null : new TrainingDivergedException(
                    $"{Name} has rolled back {memory.Returns} times and diverges again at step {step}: "
                    + Advice(position, slice)),
            };
        }

        remarks.Add(Invariant($"step {step} is skipped: {slice.Reason}"));
        RunPosition skipped = position with { Step = step + 1, Ledger = [.. position.Ledger, slice] };
        return new StepDecision(verdict, skipped) { Slice = slice, Remarks = remarks, Failure = EmptyRow(skipped) };
    }

    /// <summary>
    /// Rolls the run back to its last planned checkpoint. The slices since then are recorded in the ledger and not
    /// trained on again.
    /// </summary>
    /// <param name="position">The position before the batch.</param>
    /// <param name="now">The ledger entry of the batch that caused the rollback.</param>
    /// <param name="last">Position of the checkpoint; null if there is none.</param>
    /// <returns>The position after this batch, and a message for the operator.</returns>
    /// <exception cref="TrainingDivergedException">There is no checkpoint.</exception>
    public (RunPosition Position, string Remark) RollBack(RunPosition position, SkippedSlice now, RunPosition? last)
    {
        long step = now.Step;
        if (last is null)
        {
            throw new TrainingDivergedException(
                $"{Name} diverged at step {step}, before its first checkpoint: {Advice(position, now)}");
        }

        string cause = $"the run rolled back to step {last.Step}";
        var known = position.Ledger.Where(slice => slice.Step >= last.Step).ToDictionary(slice => slice.Step);
        known.Add(step, now with { Reason = $"{now.Reason}; {cause}" });
        List<SkippedSlice> ledger = [.. position.Ledger.Where(slice => slice.Step < last.Step)];
        for (long lost = last.Step; lost <= step; lost++)
        {
            ledger.Add(known.GetValueOrDefault(lost) ?? new SkippedSlice(lost, cause, SkippedBecause.Undone));
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
            $"step {step}: the run rolled back to the weights of step {last.Step}; the {step + 1 - last.Step} batches "
            + "after it are skipped");
    }

    /// <summary>
    /// Whether a planned checkpoint is due after a batch: at the end of every interval, but not in the middle of
    /// skipped batches, because a rollback must restore weights from before them.
    /// </summary>
    /// <param name="verdict">The batch's verdict.</param>
    /// <param name="stepsDone">Number of completed batches.</param>
    /// <param name="lastPlanned">Step of the last planned checkpoint.</param>
    public bool IsCheckpointDue(StepVerdict verdict, long stepsDone, long lastPlanned) =>
        verdict == StepVerdict.RollBack
        || (verdict == StepVerdict.Apply && stepsDone / SaveInterval > lastPlanned / SaveInterval);

    /// <summary>Why a run that has reached its end has no result; null if it has one.</summary>
    public TrainingFailedException? Failure(RunPosition end)
    {
        LeftOutSamples leftOut = end.LeftOut ?? LeftOutSamples.None;
        string bad = leftOut.Times == 0 ? "" : $" {BadData(end)}";
        if (end.Applied < PartAppliedMin * end.Step)
        {
            return new TrainingFailedException(
                $"{Name}: only {end.Applied} of {end.Step} batches were applied; {end.Skipped} were skipped and "
                + $"{end.Undone} were undone by rollbacks. A stage has a result only if at least half of its batches "
                + $"were applied. {ReportFile} gives the reason for each of the others.{bad} {Again}");
        }

        return leftOut.Times <= (1 - PartAppliedMin) * end.Step * GlobalBatch ? null : new TrainingFailedException(
            $"{Name}: {leftOut.Times} of {end.Step * GlobalBatch} samples were left out; a stage needs at least half "
            + $"of them and has no result otherwise.{bad} {Again}");
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

    // If a single sample explains the loss, the data is at fault, not the training.
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

    // The limit on consecutive batches without samples is the policy's limit on consecutive skips.
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
            $"{Name}: the last {row} batches, up to step {step}, have no sample that can be trained on. "
            + BadData(position));
    }

    private static string BadData(RunPosition position) => position.LeftOut is { Samples: [var first, ..] }
        ? $"The first is {first.Place}: {first.Column} holds {first.Value}; compute these latents again."
        : "";

    // If single samples are at fault, or no update was ever made, the learning rate is not the cause.
    private static string Advice(RunPosition position, SkippedSlice now)
    {
        SkippedSlice[] row =
        [
            .. position.Ledger.Where(slice => slice.Because != SkippedBecause.NoSample)
                .TakeLast(position.Memory.SkippedInARow - 1),
            now,
        ];
        return row.Count(slice => slice.Because == SkippedBecause.OneSample) > row.Length / 2
            ? $"single samples are at fault, most recently: {now.Reason}. Check them in the data."
            : position.Memory.Applied == 0
                ? "no update was made so far: the initial weights, or model.dtype, give a loss that is not finite."
                : "use a lower learning rate or a longer warm-up.";
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

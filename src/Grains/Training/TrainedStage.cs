// A stage's state in one trainer, and how a step changes it. All replicas make the same decisions, because the rules
// are pure functions of the position and of the batch's totals.
using System.Collections.Immutable;
using System.Security.Cryptography;
using Atelier.Grains.Ports;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

/// <summary>Reads the last planned checkpoint, if the trainer does not keep a copy of it.</summary>
internal delegate Task<TrainingState> ReadPlanned(long step, CancellationToken cancellation);

/// <summary>The state of a stage: position, vectors and step records. Not thread-safe.</summary>
/// <param name="work">Holds the vectors on their device.</param>
/// <param name="keeper">Keeps copies until they are committed.</param>
/// <param name="readPlanned">Reads a committed checkpoint for a rollback.</param>
/// <param name="remark">Receives messages for the operator.</param>
internal sealed class TrainedStage(
    IStageWork work, CheckpointKeeper keeper, ReadPlanned readPlanned, Action<string> remark)
{
    private readonly List<StepRecord> _records = [];
    private Reviewed? _reviewed;
    private float[]? _gradient;
    private string? _previousRecords;

    /// <summary>The run's position in the stage.</summary>
    public RunPosition Position { get; private set; } = RunPosition.Start;

    /// <summary>Step of the last planned checkpoint; 0 before the first one.</summary>
    public long LastPlanned { get; private set; }

    /// <summary>Mean loss of the last step; null before the first step.</summary>
    public double? Loss { get; private set; }

    /// <summary>Digests of the final state; null before the end.</summary>
    public StageEnd? End { get; private set; }

    private StageFacts Facts => work.Facts;

    // Whether the reviewed step ends with a checkpoint. Such a step waits until the previous checkpoint is committed.
    private bool IsCheckpointNext => _reviewed is { } next && (next.Step + 1 >= Facts.Rules.Steps
        || Facts.Rules.IsCheckpointDue(next.Decision.Verdict, next.Step + 1, LastPlanned));

    private sealed record Reviewed(long Step, BatchSums Sums, BatchOutcome Batch, StepDecision Decision);

    /// <summary>Decides about a step.</summary>
    /// <param name="step">The step.</param>
    /// <param name="totals">The totals of its slices.</param>
    /// <param name="all">Whether all shards must be verified.</param>
    /// <returns>Claims in the totals that must be verified before the step is applied.</returns>
    public async Task<ImmutableArray<ShardClaim>> ReviewAsync(
        long step, ImmutableArray<GradientSlice> totals, bool all)
    {
        ShardSum total = Join(totals);
        BatchOutcome batch = await work.MeasureAsync(total);
        _reviewed = new Reviewed(step, total.Sums, batch, Facts.Rules.Decide(Position, batch, work.Place));
        ImmutableArray<ShardClaim> claims = total.Sums.Claims;
        return all ? claims : SuspectShards.Of(step, _reviewed.Decision.Verdict, claims, Facts.VerifyInterval);
    }

    /// <summary>Whether the step that was reviewed last can be applied now.</summary>
    public bool CanApply() => !IsCheckpointNext || !keeper.IsBusy(_reviewed!.Step + 1);

    /// <summary>Applies the step that was reviewed last.</summary>
    /// <param name="step">The step.</param>
    /// <param name="cancellation">Cancels the reading of a checkpoint.</param>
    /// <returns>Whether the step ends with a checkpoint, and the number of its samples.</returns>
    /// <exception cref="TrainingFailedException">
    /// The stage cannot continue. All replicas throw the same exception.
    /// </exception>
    public async Task<(bool IsCheckpoint, long Samples)> ApplyAsync(long step, CancellationToken cancellation)
    {
        if (_reviewed is not { } reviewed || reviewed.Step != step)
        {
            throw new InvalidOperationException($"Step {step} was not reviewed.");
        }

        bool isCheckpoint = IsCheckpointNext;
        (_, BatchSums sums, BatchOutcome batch, StepDecision decision) = reviewed;
        _reviewed = null;
        foreach (string text in decision.Remarks)
        {
            remark(text);
        }

        if (decision.Verdict == StepVerdict.Apply)
        {
            await work.UpdateAsync(step, batch);
        }

        Position = decision.Position;
        if (decision.Failure is { } failure)
        {
            throw failure;
        }

        long? undoneFrom = decision.Verdict == StepVerdict.RollBack
            ? await RollBackAsync(decision.Slice!, cancellation) : null;
        Loss = batch.Loss;
        _records.Add(new StepRecord(
            step, sums.World, decision.Verdict, batch.Loss, batch.GradientNorm, Facts.LearningRate(step),
            sums.SampleIds, [.. batch.LeftOut.Select(sample => sample.Sample)], undoneFrom)
        {
            Streams = _records.Count == 0 ? Facts.Streams : null,
        });
        if (isCheckpoint)
        {
            await HoldAsync(
                Facts.Rules.IsCheckpointDue(decision.Verdict, Position.Step, LastPlanned), sums.World, undoneFrom);
        }
        else if (Facts.VerifyInterval > 0 && Position.Step % Facts.VerifyInterval == 0)
        {
            keeper.Audit(await StateAsync(), sums.World);
        }

        if (Position.Step >= Facts.Rules.Steps && Facts.Rules.Failure(Position) is { } tooLittle)
        {
            throw tooLittle;
        }

        return (isCheckpoint, batch.Samples);
    }

    /// <summary>Returns a copy of the state.</summary>
    public async Task<TrainingState> StateAsync() =>
        new(Position, LastPlanned, await work.ExportAsync(), [.. _records], _previousRecords);

    /// <summary>Replaces the state with that of another replica or of a checkpoint.</summary>
    /// <param name="state">The state.</param>
    /// <param name="world">Number of the world in which the trainer loads it.</param>
    public async Task LoadAsync(TrainingState state, int world)
    {
        await work.ImportAsync(state.Vectors, state.Position.Updates);
        keeper.Clear();
        (Position, LastPlanned, Loss, _reviewed) = (state.Position, state.LastPlanned, null, null);
        _records.Clear();
        _records.AddRange(state.Records);
        _previousRecords = state.PreviousRecords;
        SetEnd(state.Vectors);
        if (End is not null)
        {
            keeper.Audit(state, world); // No later step shows that the trainer has joined after this one.
        }
    }

    /// <summary>Sets the state with which the stage begins.</summary>
    /// <param name="from">Vectors from the end of the earlier stage; null if the stage does not start from one.</param>
    public async Task ResetAsync(IReadOnlyList<StateVector>? from)
    {
        await work.ResetAsync(from);
        keeper.Clear();
        (Position, LastPlanned, Loss, End, _previousRecords) = (RunPosition.Start, 0, null, null, null);
        _reviewed = null;
        _records.Clear();
    }

    private async Task<long> RollBackAsync(SkippedSlice slice, CancellationToken cancellation)
    {
        TrainingState? last = LastPlanned == 0
            ? null : keeper.Find(LastPlanned) ?? await readPlanned(LastPlanned, cancellation);
        (Position, string text) = Facts.Rules.RollBack(Position, slice, last?.Position);
        remark(text);
        await work.ImportAsync(last!.Vectors, last.Position.Updates);
        return last.Position.Step;
    }

    private async Task HoldAsync(bool isPlanned, int world, long? undoneFrom)
    {
        LastPlanned = isPlanned ? Position.Step : LastPlanned;
        TrainingState state = await StateAsync();
        keeper.Hold(state, isPlanned, world, undoneFrom);
        if (isPlanned)
        {
            _previousRecords = Convert.ToHexStringLower(
                SHA256.HashData(StepRecord.Write(_records, _previousRecords)));
            _records.Clear();
        }

        SetEnd(state.Vectors);
    }

    private void SetEnd(IReadOnlyList<StateVector> vectors) =>
        End = Position.Step < Facts.Rules.Steps ? null : new StageEnd(
            TrainingState.Digest(vectors[0]), TrainingState.Digest(vectors));

    private ShardSum Join(ImmutableArray<GradientSlice> totals)
    {
        _gradient ??= new float[Facts.Parameters];
        int at = 0;
        foreach (GradientSlice slice in totals)
        {
            slice.Values.Span.CopyTo(_gradient.AsSpan(at));
            at += slice.Values.Length;
        }

        return at == _gradient.Length ? new ShardSum(_gradient, totals[0].Sums!) : throw new InvalidOperationException(
            $"The slices of a step have {at} numbers in total, but the network has {_gradient.Length} weights.");
    }
}

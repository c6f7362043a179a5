// A training run: its stages in order, each of which can start from the committed result of an earlier one. Every
// transition is stored before other grains are notified, and the notifications are idempotent.
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.Placement;
using Atelier.Grains.Ports;
using Atelier.Training.Checkpoints;

namespace Atelier.Grains.Training;

/// <summary>The stored state of a run.</summary>
[GenerateSerializer, Alias("atelier.state.TrainingRun")]
internal sealed class TrainingRunState
{
    /// <summary>The run's stages; empty if the run was never submitted.</summary>
    [Id(0)]
    public StageSource[] Stages { get; set; } = [];

    /// <summary>Index of the current stage.</summary>
    [Id(1)]
    public int Current { get; set; }

    /// <summary>Phase of the run.</summary>
    [Id(2)]
    public RunPhase Phase { get; set; }

    /// <inheritdoc cref="RunSubmission.Priority"/>
    [Id(3)]
    public int Priority { get; set; }

    /// <inheritdoc cref="RunSubmission.Weight"/>
    [Id(4)]
    public double Weight { get; set; } = 1;

    /// <summary>The budget as submitted, in device-seconds; null for no limit.</summary>
    [Id(5)]
    public double? SubmittedBudget { get; set; }

    /// <summary>The budget that applies, which may have been raised since.</summary>
    [Id(6)]
    public double? Budget { get; set; }

    /// <inheritdoc cref="RunSubmission.Owner"/>
    [Id(7)]
    public TenantId? Owner { get; set; }

    /// <summary>When the run was submitted.</summary>
    [Id(8)]
    public DateTimeOffset SubmittedAt { get; set; }

    /// <summary>When the run ended; null while it is open.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; set; }

    /// <summary>Device-seconds that the completed stages have taken.</summary>
    [Id(10)]
    public double DeviceSeconds { get; set; }

    /// <summary>Whether the run is open.</summary>
    public bool IsOpen => Stages.Length > 0 && Phase is RunPhase.Running or RunPhase.Paused;
}

/// <summary>Runs the stages of a run in order.</summary>
[GrainType("trainingrun")]
[ControlSilo]
internal sealed partial class TrainingRunGrain(
    [PersistentState("run")] IPersistentState<TrainingRunState> state, IGrainFactory grains, TimeProvider clock)
    : Grain, ITrainingRunGrain
{
    private RunId Run => new(this.GetPrimaryKeyString());

    private TrainingRunState Own => state.State;

    private ITrainingBoardGrain Board => grains.GetGrain<ITrainingBoardGrain>(0);

    private ITrainingStageGrain CurrentStage => StageGrain(Own.Current);

    private RunSummary Summary => new()
    {
        Run = Run, Phase = Own.Phase, Stage = Own.Current, StageCount = Own.Stages.Length,
        StageName = Own.Stages[Own.Current].Name, Priority = Own.Priority, Weight = Own.Weight, Owner = Own.Owner,
        SubmittedAt = Own.SubmittedAt, EndedAt = Own.EndedAt,
    };

    private RunSubmission Submission => new()
    {
        Stages = Own.Stages, Priority = Own.Priority, Weight = Own.Weight, BudgetSeconds = Own.SubmittedBudget,
        Owner = Own.Owner,
    };

    public async Task<RunAnswer> SubmitAsync(RunSubmission submission)
    {
        if (submission.Fault() is { } fault)
        {
            throw new ArgumentException(fault, nameof(submission));
        }

        if (Own.Stages.Length > 0 && !Submission.IsSame(submission))
        {
            return RunAnswer.Conflict;
        }

        if (Own.Stages.Length == 0)
        {
            DateTimeOffset now = clock.GetUtcNow();
            bool isListed = await Board.UpdateAsync(new RunSummary
            {
                Run = Run, StageCount = submission.Stages.Length, StageName = submission.Stages[0].Name,
                Priority = submission.Priority, Weight = submission.Weight, Owner = submission.Owner, SubmittedAt = now,
            });
            if (!isListed)
            {
                return RunAnswer.Full;
            }

            (Own.Stages, Own.Priority, Own.Weight) = (submission.Stages, submission.Priority, submission.Weight);
            (Own.SubmittedBudget, Own.Budget) = (submission.BudgetSeconds, submission.BudgetSeconds);
            (Own.Owner, Own.SubmittedAt) = (submission.Owner, now);
            await state.WriteOrDeactivateAsync(this);
        }

        await ContinueAsync();
        return RunAnswer.Accepted;
    }

    public async Task<RunView?> ViewAsync()
    {
        if (Own.Stages.Length == 0)
        {
            return null;
        }

        var views = new List<StageView>();
        for (int i = 0; i <= Own.Current; i++)
        {
            views.Add(await StageGrain(i).ViewAsync());
        }

        return new RunView
        {
            Run = Run, Phase = Own.Phase, Stages = [.. views], StageCount = Own.Stages.Length,
            Priority = Own.Priority, Weight = Own.Weight, BudgetSeconds = Own.Budget, Owner = Own.Owner,
            SubmittedAt = Own.SubmittedAt, EndedAt = Own.EndedAt,
            DeviceSeconds = views.Sum(stage => stage.DeviceSeconds),
        };
    }

    public Task<(StageSource Source, int Stage)?> CurrentAsync() => Task.FromResult<(StageSource, int)?>(
        Own.Stages.Length == 0 ? null : (Own.Stages[Own.Current], Own.Current));

    public Task<StageSource?> StageAsync(int stage) =>
        Task.FromResult(state.State.Stages.ElementAtOrDefault(stage));

    public Task<TenantId?> OwnerAsync() => Task.FromResult(Own.Owner);

    public async Task CancelAsync()
    {
        if (Own.IsOpen)
        {
            (Own.Phase, Own.EndedAt) = (RunPhase.Cancelled, clock.GetUtcNow());
            await state.WriteOrDeactivateAsync(this);
        }

        // An earlier cancellation may have been interrupted here.
        if (Own.Phase == RunPhase.Cancelled)
        {
            await CurrentStage.EndAsync();
            await Board.UpdateAsync(Summary);
        }
    }

    public async Task PauseAsync(bool isImmediate)
    {
        if (Own.IsOpen && Own.Phase == RunPhase.Running)
        {
            await CurrentStage.PauseAsync("paused by request", isImmediate);
        }
    }

    public async Task ResumeAsync(double? budgetSeconds)
    {
        if (!Own.IsOpen)
        {
            return;
        }

        // The stage is resumed first: if a crash interrupts this, the stage would otherwise pause the run again.
        Own.Budget = budgetSeconds ?? Own.Budget;
        await CurrentStage.ResumeAsync(Own.Budget - Own.DeviceSeconds);
        Own.Phase = RunPhase.Running;
        await state.WriteOrDeactivateAsync(this);
        await ContinueAsync();
    }

    public async Task StagePausedAsync(int stage)
    {
        // The notification may be older than a request to resume the run.
        if (stage == Own.Current && Own.IsOpen && Own.Phase == RunPhase.Running
            && (await CurrentStage.ViewAsync()).IsPaused)
        {
            Own.Phase = RunPhase.Paused;
            await state.WriteOrDeactivateAsync(this);
        }

        await ContinueAsync();
    }

    public async Task StageEndedAsync(int stage, string? failure, double deviceSeconds)
    {
        if (stage == Own.Current && Own.IsOpen)
        {
            bool isLast = stage + 1 == Own.Stages.Length;
            Own.Phase = failure is not null ? RunPhase.Failed : isLast ? RunPhase.Done : RunPhase.Running;
            Own.EndedAt = Own.Phase == RunPhase.Running ? null : clock.GetUtcNow();
            Own.Current = Own.Phase == RunPhase.Running ? stage + 1 : stage;
            Own.DeviceSeconds += deviceSeconds;
            await state.WriteOrDeactivateAsync(this);
        }

        await ContinueAsync();
    }

    public async Task<bool> MayNeedAsync(BlobName blob)
    {
        if (Own.IsOpen)
        {
            return true;
        }

        await state.RereadOrDeactivateAsync(this);
        for (int i = 0; i < Own.Stages.Length && i <= Own.Current; i++)
        {
            if (await StageGrain(i).MayNeedAsync(blob))
            {
                return true;
            }
        }

        return false;
    }

    public Task<RunAnswer> EarlierSubmitAsync(StageSource[] stages) =>
        SubmitAsync(new RunSubmission { Stages = stages });

    public Task EarlierResumeAsync() => ResumeAsync(null);

    public Task EarlierStageEndedAsync(int stage, string? failure) => StageEndedAsync(stage, failure, 0);

    // Notifies the stage and the list of runs of the stored state. Idempotent.
    private async Task ContinueAsync()
    {
        if (Own.Stages.Length == 0)
        {
            return;
        }

        if (Own.Phase == RunPhase.Running)
        {
            StageSource source = Own.Stages[Own.Current];
            CheckpointManifest? from = source.StartsFrom is { } before ? await StageGrain(before).LastAsync() : null;
            await CurrentStage.BeginAsync(
                new StagePlan(Run.Value, source.Name, source.Configuration, source.Overrides)
                {
                    From = from, Resumes = source.Resumes,
                },
                Own.Budget - Own.DeviceSeconds);
        }

        await Board.UpdateAsync(Summary);
    }

    private ITrainingStageGrain StageGrain(int index) =>
        grains.GetGrain<ITrainingStageGrain>(new OpenRun(Run, index).StageKey);
}

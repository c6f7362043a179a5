// A training run: its stages in order, each of which can start from the committed result of an earlier one. Every
// transition is stored before other grains are notified, and the notifications are idempotent.
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
}

/// <summary>Runs the stages of a run in order.</summary>
[GrainType("trainingrun")]
[ControlSilo]
internal sealed class TrainingRunGrain(
    [PersistentState("run")] IPersistentState<TrainingRunState> state, IGrainFactory grains)
    : Grain, ITrainingRunGrain
{
    private RunId Run => new(this.GetPrimaryKeyString());

    private ITrainingBoardGrain Board => grains.GetGrain<ITrainingBoardGrain>(0);

    public async Task<RunAnswer> SubmitAsync(StageSource[] stages)
    {
        if (stages.Length is < 1 or > ITrainingRunGrain.StagesMax)
        {
            throw new ArgumentException(
                $"A run has 1 to {ITrainingRunGrain.StagesMax} stages, not {stages.Length}.", nameof(stages));
        }

        if (state.State.Stages.Length > 0 && !AreEqual(state.State.Stages, stages))
        {
            return RunAnswer.Conflict;
        }

        if (state.State.Stages.Length == 0)
        {
            if (!await Board.OpenAsync(Run, 0))
            {
                return RunAnswer.Full;
            }

            state.State.Stages = stages;
            await state.WriteOrDeactivateAsync(this);
        }

        await ContinueAsync();
        return RunAnswer.Accepted;
    }

    public async Task<RunView?> ViewAsync()
    {
        if (state.State.Stages.Length == 0)
        {
            return null;
        }

        var views = new List<StageView>();
        for (int i = 0; i <= Math.Min(state.State.Current, state.State.Stages.Length - 1); i++)
        {
            views.Add(await Stage(i).ViewAsync());
        }

        return new RunView
        {
            Run = Run, Phase = state.State.Phase, Stages = [.. views], StageCount = state.State.Stages.Length,
        };
    }

    public Task<(StageSource Source, int Stage)?> CurrentAsync()
    {
        TrainingRunState run = state.State;
        return Task.FromResult<(StageSource, int)?>(
            run.Stages.Length == 0 ? null : (run.Stages[run.Current], run.Current));
    }

    public async Task CancelAsync()
    {
        if (state.State.Stages.Length > 0 && state.State.Phase == RunPhase.Running)
        {
            state.State.Phase = RunPhase.Cancelled;
            await state.WriteOrDeactivateAsync(this);
        }

        // An earlier cancellation may have been interrupted here.
        if (state.State.Phase == RunPhase.Cancelled)
        {
            await Stage(state.State.Current).EndAsync();
            await Board.CloseAsync(Run);
        }
    }

    public async Task ResumeAsync()
    {
        if (state.State.Stages.Length > 0 && state.State.Phase == RunPhase.Running)
        {
            await Stage(state.State.Current).ResumeAsync();
        }
    }

    public async Task StageEndedAsync(int stage, string? failure)
    {
        if (stage == state.State.Current && state.State.Phase == RunPhase.Running)
        {
            (state.State.Phase, state.State.Current) = failure is not null ? (RunPhase.Failed, stage)
                : stage + 1 == state.State.Stages.Length ? (RunPhase.Done, stage)
                : (RunPhase.Running, stage + 1);
            await state.WriteOrDeactivateAsync(this);
        }

        await ContinueAsync();
    }

    // Notifies the stage and the list of open runs of the stored state. Idempotent.
    private async Task ContinueAsync()
    {
        if (state.State.Phase != RunPhase.Running)
        {
            await Board.CloseAsync(Run);
            return;
        }

        int current = state.State.Current;
        StageSource source = state.State.Stages[current];
        CheckpointManifest? from = source.StartsFrom is { } before ? await Stage(before).LastAsync() : null;
        await Stage(current).BeginAsync(new StagePlan(
            Run.Value, source.Name, source.Configuration, source.Overrides)
        {
            From = from, Resumes = source.Resumes,
        });
        await Board.OpenAsync(Run, current);
    }

    private ITrainingStageGrain Stage(int index) =>
        grains.GetGrain<ITrainingStageGrain>(new OpenRun(Run, index).StageKey);

    private static bool AreEqual(StageSource[] one, StageSource[] other) =>
        one.Length == other.Length && one.Zip(other).All(pair =>
            pair.First.Name == pair.Second.Name && pair.First.Configuration == pair.Second.Configuration
            && pair.First.StartsFrom == pair.Second.StartsFrom && pair.First.Resumes == pair.Second.Resumes
            && pair.First.Overrides.SequenceEqual(pair.Second.Overrides, StringComparer.Ordinal));
}

/// <summary>The stored list of open runs.</summary>
[GenerateSerializer, Alias("atelier.state.TrainingBoard")]
internal sealed class TrainingBoardState
{
    /// <summary>Open runs in order of submission.</summary>
    [Id(0)]
    public List<OpenRun> Runs { get; set; } = [];
}

/// <summary>Keeps the list of open runs.</summary>
[GrainType("trainingboard")]
[ControlSilo]
internal sealed class TrainingBoardGrain(
    [PersistentState("board")] IPersistentState<TrainingBoardState> state) : Grain, ITrainingBoardGrain
{
    public async Task<bool> OpenAsync(RunId run, int stage)
    {
        int at = state.State.Runs.FindIndex(open => open.Run == run);
        if (at < 0 && state.State.Runs.Count >= ITrainingBoardGrain.RunsMax)
        {
            return false;
        }

        var listed = new OpenRun(run, stage);
        if (at < 0)
        {
            state.State.Runs.Add(listed);
        }
        else if (state.State.Runs[at] != listed)
        {
            state.State.Runs[at] = listed;
        }
        else
        {
            return true;
        }

        await state.WriteOrDeactivateAsync(this);
        return true;
    }

    public async Task CloseAsync(RunId run)
    {
        if (state.State.Runs.RemoveAll(open => open.Run == run) > 0)
        {
            await state.WriteOrDeactivateAsync(this);
        }
    }

    public Task<OpenRun[]> ListAsync() => Task.FromResult(state.State.Runs.ToArray());
}

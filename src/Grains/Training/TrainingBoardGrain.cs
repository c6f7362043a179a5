// The list of a cluster's runs. Open runs are kept until they end; of the ended ones, the last thousand are kept. The
// list cancels the open runs of tenants that were closed.
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Placement;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Training;

/// <summary>The stored list of runs.</summary>
[GenerateSerializer, Alias("atelier.state.TrainingBoard")]
internal sealed class TrainingBoardState
{
    /// <summary>
    /// The running runs of <see cref="Summaries"/>, which the release before reads, and the only ones that it writes.
    /// </summary>
    [Id(0)]
    public List<OpenRun> Runs { get; set; } = [];

    /// <summary>All runs, in order of submission. Empty if the release before has written the state.</summary>
    [Id(1)]
    public List<RunSummary> Summaries { get; set; } = [];
}

/// <summary>Keeps the list of runs.</summary>
[GrainType("trainingboard")]
[ControlSilo]
internal sealed class TrainingBoardGrain(
    [PersistentState("board")] IPersistentState<TrainingBoardState> state, IOptions<OpenSetOptions> options,
    IGrainFactory grains) : Grain, ITrainingBoardGrain
{
    private List<RunSummary> Runs => state.State.Summaries;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        Runs.AddRange(state.State.Runs.Where(old => Runs.All(run => run.Run != old.Run))
            .Select(Summary));
        TimeSpan period = options.Value.WalkPeriod;
        this.RegisterGrainTimer(CheckAsync, new(period, period) { Interleave = true });
        return Task.CompletedTask;
    }

    public async Task<bool> UpdateAsync(RunSummary run)
    {
        int at = Runs.FindIndex(known => known.Run == run.Run);
        if (at < 0)
        {
            if (run.IsOpen && Runs.Count(known => known.IsOpen) >= ITrainingBoardGrain.RunsMax)
            {
                return false;
            }

            Runs.Add(run);
        }
        else
        {
            RunSummary known = Runs[at];
            bool isSameStage = known.Stage == run.Stage;
            Runs[at] = run with
            {
                SafeStep = isSameStage ? known.SafeStep : 0,
                Steps = isSameStage ? known.Steps : 0,
            };
            if (Runs[at] == known)
            {
                return true;
            }
        }

        foreach (RunSummary old in Runs.Where(known => !known.IsOpen).OrderByDescending(known => known.EndedAt)
            .Skip(ITrainingBoardGrain.EndedMax).ToArray())
        {
            Runs.Remove(old);
        }

        await StoreAsync();
        return true;
    }

    public Task ProgressAsync(RunId run, int stage, long safeStep, long steps)
    {
        int at = Runs.FindIndex(known => known.Run == run && known.Stage == stage);
        if (at >= 0)
        {
            Runs[at] = Runs[at] with { SafeStep = safeStep, Steps = steps };
        }

        return Task.CompletedTask;
    }

    public Task<RunSummary[]> ListOpenAsync() =>
        Task.FromResult<RunSummary[]>([.. Runs.Where(run => run.IsOpen)]);

    public Task<RunSummary[]> ListAsync() => Task.FromResult<RunSummary[]>(
    [
        .. Runs.Where(run => run.IsOpen),
        .. Runs.Where(run => !run.IsOpen).OrderByDescending(run => run.EndedAt),
    ]);

    public Task<bool> EarlierOpenAsync(RunId run, int stage)
    {
        RunSummary? known = Runs.Find(known => known.Run == run);
        return known is { IsOpen: true } && known.Stage == stage
            ? Task.FromResult(true) : UpdateAsync(Summary(new OpenRun(run, stage)));
    }

    public async Task EarlierCloseAsync(RunId run)
    {
        if (Runs.RemoveAll(known => known.Run == run && known.IsOpen) > 0)
        {
            await StoreAsync();
        }
    }

    public Task<OpenRun[]> EarlierListAsync() => Task.FromResult<OpenRun[]>([.. Running()]);

    // What the release before knows of a run. The rest is asked from the run.
    private static RunSummary Summary(OpenRun run) =>
        new() { Run = run.Run, Stage = run.Stage, StageCount = run.Stage + 1 };

    private IEnumerable<OpenRun> Running() =>
        Runs.Where(run => run.Phase == RunPhase.Running).Select(run => new OpenRun(run.Run, run.Stage));

    private Task StoreAsync()
    {
        state.State.Runs = [.. Running()];
        return state.WriteOrDeactivateAsync(this);
    }

    // Interleaves with calls, because a run that is cancelled updates this list. A failed call is repeated by the next
    // period.
    private async Task CheckAsync(CancellationToken cancellation)
    {
        foreach (RunSummary run in Runs.Where(run => run.StageName.Length == 0).ToArray())
        {
            if (await GrainCalls.TryAsync(grains.GetGrain<ITrainingRunGrain>(run.Run.Value).ViewAsync) is { } view)
            {
                RunSummary whole = run with
                {
                    Phase = view.Phase,
                    Stage = view.Stages.Length - 1,
                    StageCount = view.StageCount,
                    StageName = view.Stages[^1].Name,
                    Priority = view.Priority,
                    Weight = view.Weight,
                    Owner = view.Owner,
                    SubmittedAt = view.SubmittedAt,
                    EndedAt = view.EndedAt,
                };
                await GrainCalls.TryAsync(() => this.AsReference<ITrainingBoardGrain>().UpdateAsync(whole));
            }
        }

        foreach (IGrouping<TenantId, RunSummary> owned in Runs.Where(run => run.IsOpen && run.Owner is not null)
            .GroupBy(run => run.Owner!.Value).ToArray())
        {
            await GrainCalls.TryAsync(async () =>
            {
                if (await grains.Tenant(owned.Key).IsClosedAsync())
                {
                    foreach (RunSummary run in owned)
                    {
                        await grains.GetGrain<ITrainingRunGrain>(run.Run.Value).CancelAsync();
                    }
                }
            });
        }
    }
}

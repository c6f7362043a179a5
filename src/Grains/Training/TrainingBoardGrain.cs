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
    /// <summary>Open runs as stored by an earlier release; empty once they are in <see cref="Summaries"/>.</summary>
    [Id(0)]
    public List<OpenRun> Runs { get; set; } = [];

    /// <summary>All runs, in order of submission.</summary>
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
            .Select(old => new RunSummary { Run = old.Run, Stage = old.Stage, StageCount = old.Stage + 1 }));
        state.State.Runs.Clear();
        TimeSpan period = options.Value.WalkPeriod;
        this.RegisterGrainTimer(CancelClosedAsync, new(period, period) { Interleave = true });
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

        await state.WriteOrDeactivateAsync(this);
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

    // Interleaves with calls, because a run that is cancelled updates this list. A failed call is repeated by the next
    // period.
    private async Task CancelClosedAsync(CancellationToken cancellation)
    {
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

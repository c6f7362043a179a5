// The part of a stage's manager that tells people about the stage: its trainers, and why others do not train it.
using Atelier.Contracts.Training;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

internal sealed partial class TrainingStageGrain
{
    // Maximum number of refused trainers whose reasons are shown.
    private const int RefusalsMax = 16;

    private readonly Dictionary<string, (string Reason, TimeSpan At)> _refusals = new(StringComparer.Ordinal);

    public Task<StageView> ViewAsync()
    {
        World? world = _record?.World.World;
        RemoveLost();
        StageReport[] living = [.. _reports.Values.Select(one => one.Report)];
        return Task.FromResult(new StageView
        {
            Name = _record?.Plan.Name ?? "",
            Step = living.Where(one => one.Trainer.HasState).Select(one => one.Trainer.Position)
                .Append(_record?.World.SafeStep ?? 0).Max(),
            Steps = _record?.Steps ?? 0,
            SafeStep = _record?.World.SafeStep ?? 0,
            World = world?.Number ?? 0,
            Trainers =
            [
                .. living.OrderBy(one => one.Trainer.Id, TrainerId.Order).Select(one => new TrainerView
                {
                    Trainer = one.Trainer.Id.ToString(),
                    Shards = world?.Members.FirstOrDefault(member => member.Id == one.Trainer.Id)
                        ?.Shards.Count ?? 0,
                    Position = one.Trainer.HasState ? one.Trainer.Position : null,
                }),
            ],
            Weights = _record?.End?.Weights,
            State = _record?.End?.State,
            Records = _record?.Checkpoints.LastOrDefault()?.Parts[^1].Digest,
            Trouble = Trouble(living),
            Loss = living.MaxBy(one => one.Trainer.Position)?.Loss,
        });
    }

    public Task RefuseAsync(string worker, string reason)
    {
        NoteRefusal(worker, reason);
        logger.TrainerRefused(worker, _key, reason);
        return Task.CompletedTask;
    }

    // Why the stage waits or cannot continue, and why single trainers do not help.
    private string? Trouble(StageReport[] living)
    {
        if (_record is null or { IsOver: true } or { Paused: not null })
        {
            return _record?.Failure ?? _record?.Paused;
        }

        string[] troubles =
        [
            .. living.Length > 0 ? Array.Empty<string>() : ["No trainer is available; the stage waits."],
            .. _refusals.Select(one => $"{one.Key}: {one.Value.Reason}"),
            .. living.Where(one => one.State.StoreFault is not null)
                .Select(one => $"{one.Worker} cannot store checkpoints: {one.State.StoreFault}"),
        ];
        return troubles.Length == 0 ? null : string.Join(" ", troubles);
    }

    // A trainer that is refused tries again, unless it is gone.
    private void NoteRefusal(string worker, string reason)
    {
        foreach (string gone in _refusals.Where(one => Now - one.Value.At > 3 * options.Value.RefusedPause)
            .Select(one => one.Key).ToArray())
        {
            _refusals.Remove(gone);
        }

        if (_refusals.Count < RefusalsMax || _refusals.ContainsKey(worker))
        {
            _refusals[worker] = (reason, Now);
        }
    }

    // A trainer that has not reported for a while is not shown, and not notified.
    private void RemoveLost()
    {
        foreach ((TrainerId id, (_, TimeSpan at)) in _reports.ToArray())
        {
            if (Now - at > options.Value.LostAfter)
            {
                _reports.Remove(id);
            }
        }
    }
}

// The view of a stage for people: its trainers, and the reasons why others do not train it.
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
        long step = living.Where(one => one.Trainer.HasState).Select(one => one.Trainer.Position)
            .Append(_record?.World.SafeStep ?? 0).Max();
        (int Batch, double StepSeconds)? rate = _record is not { IsOpen: true } ? null
            : living.Where(one => one.StepSeconds > 0)
                .Select(one => ((int, double)?)(one.Batch, one.StepSeconds!.Value)).FirstOrDefault();
        return Task.FromResult(new StageView
        {
            Name = _record?.Plan.Name ?? "",
            Step = step,
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
            SamplesPerSecond = rate?.Batch / rate?.StepSeconds,
            SecondsLeft = rate is { } known ? known.StepSeconds * (_record!.Steps - step) : null,
            DeviceSeconds = (_record?.DeviceSeconds ?? 0) + _uncounted,
            Notes = [.. _record?.Notes ?? []],
            Panels =
            [
                .. (_record?.Panels.Drawn ?? []).Select(
                    panel => new PanelView(panel.Step, panel.Sheet, panel.Score, panel.IsHeld)),
            ],
            IsPaused = _record is { IsOver: false, Paused: not null },
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
            .. _record.PausesBecause is { } pause
                ? [$"Pauses at the next checkpoint: {pause}."] : Array.Empty<string>(),
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

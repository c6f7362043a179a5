// The view of a stage for people: its trainers, and the reasons why others do not train it.
using Atelier.Contracts.Training;
using Atelier.Training.Worlds;

namespace Atelier.Grains.Training;

internal sealed partial class TrainingStageGrain
{
    // Maximum number of refused trainers whose reasons are shown.
    private const int RefusalsMax = 16;

    private readonly Dictionary<string, (string Reason, TimeSpan At)> _refusals = new(StringComparer.Ordinal);

    private readonly TrainingInstruments.StageLevel _level = instruments.Open();
    private long _seenStep;
    private TimeSpan _seenAt;

    public Task<StageView> ViewAsync()
    {
        World? world = _record?.World.World;
        RemoveLost();
        StageReport[] living = [.. _reports.Values.Select(one => one.Report)];
        long step = StepOf(living);
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

    // The last step that a trainer has applied, or that is safe.
    private long StepOf(IEnumerable<StageReport> living) => living.Where(one => one.Trainer.HasState)
        .Select(one => one.Trainer.Position).Append(_record?.World.SafeStep ?? 0).Max();

    // Sets what operators see of the stage. A stage that returns to an earlier step makes progress.
    private void Measure()
    {
        long step = StepOf(_reports.Values.Select(one => one.Report));
        if (step != _seenStep || _record is { Paused: not null })
        {
            (_seenStep, _seenAt) = (step, Now);
        }

        if (_record is { IsOver: false } open)
        {
            _level.Update(
                open.Paused is not null ? StageUse.Paused : _reports.Count > 0 ? StageUse.Training : StageUse.Waiting,
                Now - _seenAt);
        }
        else
        {
            _level.Remove();
        }
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

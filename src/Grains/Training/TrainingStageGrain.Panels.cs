// The part of a stage's manager that has panels drawn of its checkpoints.
using System.Collections.Immutable;
using System.Globalization;
using Atelier.Contracts.Workers;
using Atelier.Training.Checkpoints;

namespace Atelier.Grains.Training;

internal sealed partial class TrainingStageGrain
{
    // Minimum number of attempts to draw a panel. With more workers, each of them tries.
    private const int PanelAttemptsMin = 5;

    private const string PanelReminder = "panels";

    private static readonly TimeSpan s_reminderPeriod = TimeSpan.FromMinutes(1);

    private PanelAttempt _panel = new(0, 0, null);
    private TimeSpan _panelAskedAt, _panelPause;
    private int _panelWorkers;
    private Task _asking = Task.CompletedTask;

    public async Task PanelDrawnJsonAsync(string panel)
    {
        DrawnPanel drawn = TrainingJson.Read<DrawnPanel>(panel)!;
        if (_record is not { } record || !record.Panels.Due.Contains(drawn.Step))
        {
            return; // Drawn twice.
        }

        // A stage that is over cannot be held.
        (StagePanels panels, string? hold) = record.Panels.With(
            record.IsOver ? drawn with { DropMax = null } : drawn);
        string score = drawn.Score is { } value
            ? string.Create(CultureInfo.InvariantCulture, $", CLIP score {value:f2}") : "";
        StageRecord next = Kept(Noted(record, drawn.Step, $"panel drawn{score}") with { Panels = panels });
        if (hold is not null)
        {
            await PauseAsync(next with
            {
                Paused = record.Paused is { } already ? $"{already}; also, {hold}" : hold,
                PausesBecause = null,
            });
        }
        else
        {
            await StoreAsync(next);
        }

        AfterPanel(record.Checkpoints);
    }

    public async Task PanelFailedAsync(long step, string reason)
    {
        if (_record?.Panels.Due.Contains(step) != true)
        {
            return;
        }

        int attempts = _panel.Step == step ? _panel.Number + 1 : 1;
        _panel = new PanelAttempt(step, attempts, null);
        _panelPause = Math.Pow(2, attempts) * options.Value.PanelPeriod;
        if (attempts >= Math.Max(PanelAttemptsMin, _panelWorkers))
        {
            await SkipPanelAsync(step, reason);
        }
    }

    /// <inheritdoc/>
    public async Task ReceiveReminder(string reminderName, TickStatus status)
    {
        if (!HasPanelsDue(_record) && await this.GetReminder(reminderName) is { } reminder)
        {
            await this.UnregisterReminder(reminder);
        }
    }

    private static bool HasPanelsDue(StageRecord? record) =>
        record is { IsCancelled: false, Failure: null, Panels.Due.Length: > 0 };

    // Trainers report to a stage until it ends. After that only a reminder starts it again if its silo dies before the
    // last panel is drawn.
    private async Task RemindOfPanelsAsync(StageRecord ended)
    {
        if (HasPanelsDue(ended))
        {
            await this.RegisterOrUpdateReminder(PanelReminder, s_reminderPeriod, s_reminderPeriod);
        }
    }

    // Repeated, so that a panel whose silo has died is drawn by another one.
    private async Task AskForPanelAsync()
    {
        if (!HasPanelsDue(_record) || _record is not { Panels.Due: [var step, ..] } record
            || Now - _panelAskedAt < _panelPause || !_asking.IsCompleted)
        {
            return;
        }

        DelayDeactivation(options.Value.PanelTimeout);
        (_panelAskedAt, _panelPause) = (Now, options.Value.PanelPeriod);
        if (record.Checkpoints.FirstOrDefault(one => one.Step == step) is { } checkpoint)
        {
            _panel = _panel.Step == step ? _panel : new PanelAttempt(step, 0, null);
            _asking = AskAsync(checkpoint);
        }
        else
        {
            await SkipPanelAsync(step, "its checkpoint is not kept anymore");
        }
    }

    // Not awaited by the timer, because the list of workers takes as long as the slowest of them.
    private async Task AskAsync(CheckpointManifest checkpoint)
    {
        WorkerStatus[] workers = await GrainCalls.TryAsync(() => grains.Cluster().WorkersAsync()) ?? [];
        string[] keys = [.. workers.Select(worker => worker.Key.ToString()).Order(StringComparer.Ordinal)];
        PanelAttempt attempt = _panel;
        if (keys.Length == 0 || attempt.Step != checkpoint.Step)
        {
            return;
        }

        // A worker that does not answer in time may be at work on the panel.
        _panelWorkers = keys.Length;
        string worker = attempt.Worker ?? keys[attempt.Number % keys.Length];
        _panel = attempt with { Worker = worker };
        bool isAsked = await GrainCalls.TryAsync(() => grains.GetGrain<ITrainingPanelGrain>(worker)
            .DrawAsync(_key, attempt.Number, TrainingJson.Write(checkpoint)));
        if (!isAsked && _panel == attempt with { Worker = worker })
        {
            _panel = attempt with { Number = attempt.Number + 1, Worker = null };
        }
    }

    private async Task SkipPanelAsync(long step, string reason)
    {
        StageRecord record = _record!;
        await StoreAsync(Kept(Noted(record, step, $"the panel could not be drawn: {reason}") with
        {
            Panels = record.Panels.Without(step),
        }));
        AfterPanel(record.Checkpoints);
    }

    // The sheet is needed from now on, and the checkpoint perhaps not anymore.
    private void AfterPanel(ImmutableArray<CheckpointManifest> before)
    {
        _needed = null;
        ReleaseAsync(before).Ignore();
    }

    // An attempt to draw a panel, and the worker on whose silo it is drawn; null if none is chosen.
    private sealed record PanelAttempt(long Step, int Number, string? Worker);
}

// The events of a run. They are made from what the run has stored: steps from the records of its checkpoints, notes
// from the manager of its stage. So any silo can serve them, from any event on, as often as a client asks.
using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using Atelier.Contracts.Training;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Training;

/// <summary>A place in a run's events: everything before it was sent.</summary>
/// <param name="Stage">Index of the stage.</param>
/// <param name="Step">The next step of that stage.</param>
/// <param name="Note">Number of the last note of that stage that was sent.</param>
internal readonly record struct RunCursor(int Stage, long Step, long Note)
{
    /// <summary>Reads a Last-Event-ID.</summary>
    public static bool TryParse(string? text, out RunCursor cursor)
    {
        cursor = default;
        if (text?.Split('.') is not [var stageText, var stepText, var noteText]
            || !int.TryParse(stageText, NumberStyles.None, CultureInfo.InvariantCulture, out int stage)
            || !long.TryParse(stepText, NumberStyles.None, CultureInfo.InvariantCulture, out long step)
            || !long.TryParse(noteText, NumberStyles.None, CultureInfo.InvariantCulture, out long note))
        {
            return false;
        }

        cursor = new RunCursor(stage, step, note);
        return true;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Stage}.{Step}.{Note}");
}

/// <summary>An event of a run that concerns one of its stages.</summary>
/// <param name="Stage">Index of the stage.</param>
/// <param name="Name">Name of the stage.</param>
/// <param name="Step">The step, for the event step.</param>
/// <param name="Note">The note, for the event note.</param>
/// <param name="Progress">The stage's state, for the events progress and stage_done.</param>
internal sealed record RunEventResponse(
    int Stage, string Name, StepResponse? Step = null, NoteResponse? Note = null, StageResponse? Progress = null);

/// <summary>Follows runs. All watches of a run on a silo share its views.</summary>
/// <param name="read">Reads a run's state; null if the run does not exist.</param>
/// <param name="history">The steps of committed checkpoints.</param>
/// <param name="clock">The clock.</param>
internal sealed class RunWatch(Func<RunId, Task<RunView?>> read, StepHistory history, TimeProvider clock)
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<RunId, (long At, Task<RunView?> View)> _views = [];

    /// <summary>
    /// Streams a run's events from a place on: step, note, stage_done and end, each with the place after it, and
    /// progress, which has no place and is not repeated.
    /// </summary>
    /// <param name="run">The run.</param>
    /// <param name="cursor">The place.</param>
    /// <param name="cancellation">Cancels the watch.</param>
    public async IAsyncEnumerable<ServerSentEvent> WatchAsync(
        RunId run, RunCursor cursor, [EnumeratorCancellation] CancellationToken cancellation)
    {
        StageResponse? shown = null;
        while (await ViewAsync(run) is { } view)
        {
            for (; cursor.Stage < view.Stages.Length; cursor = new RunCursor(cursor.Stage + 1, 0, 0))
            {
                StageView stage = view.Stages[cursor.Stage];
                foreach (StageNote note in stage.Notes.Where(note => note.Number > cursor.Note))
                {
                    cursor = cursor with { Note = note.Number };
                    yield return Event("note", cursor, new RunEventResponse(
                        cursor.Stage, stage.Name, Note: new NoteResponse(note.Step, note.At, note.Text)));
                }

                foreach (StepRecord step in await history.ReadAsync(stage.Records, cursor.Step, cancellation))
                {
                    cursor = cursor with { Step = step.Step + 1 };
                    yield return Event("step", cursor, new RunEventResponse(
                        cursor.Stage, stage.Name, Step: StepResponse.Of(step)));
                }

                bool isDone = cursor.Stage + 1 < view.Stages.Length || view.Phase == RunPhase.Done;
                StageResponse progress = StageResponse.Of(stage) with { Notes = [] };
                if (!isDone)
                {
                    if (!IsSame(progress, shown))
                    {
                        yield return new ServerSentEvent(
                            "progress", null, new RunEventResponse(cursor.Stage, stage.Name, Progress: progress));
                    }

                    shown = progress;
                    break;
                }

                yield return Event(
                    "stage_done", new RunCursor(cursor.Stage + 1, 0, 0),
                    new RunEventResponse(cursor.Stage, stage.Name, Progress: progress));
            }

            if (!view.IsOpen)
            {
                yield return Event("end", cursor, RunResponse.Of(view));
                yield break;
            }

            await Task.Delay(s_period, clock, cancellation);
        }
    }

    private static ServerSentEvent Event(string name, RunCursor after, object data) =>
        new(name, after.ToString(), data);

    private static bool IsSame(StageResponse one, StageResponse? other) => other is not null
        && one with { Trainers = [], Notes = [], Panels = [], DeviceSeconds = 0 }
            == other with { Trainers = [], Notes = [], Panels = [], DeviceSeconds = 0 }
        && one.Trainers.SequenceEqual(other.Trainers) && one.Panels.SequenceEqual(other.Panels);

    private Task<RunView?> ViewAsync(RunId run)
    {
        (long At, Task<RunView?> View) known = _views.AddOrUpdate(
            run, _ => New(), (_, old) => clock.GetElapsedTime(old.At) < s_period / 2 ? old : New());
        foreach ((RunId other, (long at, _)) in _views)
        {
            if (clock.GetElapsedTime(at) > 10 * s_period)
            {
                _views.TryRemove(other, out _);
            }
        }

#pragma warning disable VSTHRD003 // All watches of a run await the same call.
        return known.View;
#pragma warning restore VSTHRD003

        (long, Task<RunView?>) New() => (clock.GetTimestamp(), read(run));
    }
}

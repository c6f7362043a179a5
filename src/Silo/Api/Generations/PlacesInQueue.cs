// Where a generation waits, as events between those of its stream. They have no number: they are not sent again to a
// client that resumes.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>Adds a generation's place in the queue to its events.</summary>
internal sealed class PlacesInQueue(IGrainFactory grains, TimeProvider clock)
{
    // The queue is one grain for all clients that wait, so those with a long wait ask less often.
    private const int AsksPerWait = 10;
    private static readonly TimeSpan s_periodMin = TimeSpan.FromSeconds(1), s_periodMax = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan s_periodUnknown = TimeSpan.FromSeconds(3);

    /// <summary>The time until the place is asked for again.</summary>
    public static TimeSpan PeriodOf(QueuePlace? place) => place is not { } known ? s_periodMin
        : known.Wait is not { } wait ? s_periodUnknown
        : TimeSpan.FromTicks(Math.Clamp(wait.Ticks / AsksPerWait, s_periodMin.Ticks, s_periodMax.Ticks));

    /// <summary>The given events, and while the generation waits its place whenever that has changed.</summary>
    /// <param name="view">The generation, as it was before the first event.</param>
    /// <param name="events">Its events.</param>
    /// <param name="cancellation">Ends the stream.</param>
    public async IAsyncEnumerable<ServerSentEvent> AddAsync(
        GenerationView view, IAsyncEnumerable<GenerationEvent> events,
        [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        await using IAsyncEnumerator<GenerationEvent> each = events.GetAsyncEnumerator(ending.Token);
        Task<bool> next = each.MoveNextAsync().AsTask();
        GenerationPhase phase = view.Phase;
        QueuePlace? last = null;
        try
        {
            while (true)
            {
                if (IsWaiting(phase) && !await HasEndedAsync(next, PeriodOf(last), ending.Token))
                {
                    Task<QueuePlace?> asked = GrainCalls.TryAsync(() => grains.WorkQueue().PlaceOfAsync(view.Key));

                    // An event that has arrived does not wait for the answer of a queue whose silo has died.
                    await Task.WhenAny(next, asked);
                    if (!next.IsCompleted && asked.IsCompletedSuccessfully && await asked is { } place && place != last)
                    {
                        last = place;
                        yield return new ServerSentEvent(
                            ApiJson.NameOf(phase), null,
                            GenerationEventResponse.Waiting(phase, view.Submission.Spec.Steps, place));
                    }
                }
                else if (await next)
                {
                    GenerationEvent one = each.Current;
                    (phase, last) = (one.Phase, null);
                    yield return new ServerSentEvent(
                        ApiJson.NameOf(one.Phase), one.Number.ToString(),
                        GenerationEventResponse.Of(view.Key.Id, one));
                    next = each.MoveNextAsync().AsTask();
                }
                else
                {
                    yield break;
                }
            }
        }
        finally
        {
            // The enumerator may be disposed only when no MoveNextAsync is pending.
            await ending.CancelAsync();
            await Task.WhenAny(next);
        }
    }

    private static bool IsWaiting(GenerationPhase phase) => !phase.IsEnded() && phase.Info().Waits;

    private async Task<bool> HasEndedAsync(Task task, TimeSpan time, CancellationToken cancellation)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
#pragma warning disable VSTHRD003 // The next event, which is awaited by the caller.
        await Task.WhenAny(task, Task.Delay(time, clock, enough.Token));
#pragma warning restore VSTHRD003
        await enough.CancelAsync();
        return task.IsCompleted || cancellation.IsCancellationRequested;
    }
}

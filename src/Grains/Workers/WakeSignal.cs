using System.Threading.Channels;

namespace Atelier.Grains.Workers;

/// <summary>Wakes a sleeping loop; a signal that arrives while the loop is awake ends its next sleep at once.</summary>
internal sealed class WakeSignal(TimeProvider clock)
{
    private readonly Channel<bool> _signals =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    /// <summary>Wakes the loop.</summary>
    public void Set() => _signals.Writer.TryWrite(true);

    /// <summary>
    /// Runs work beside the loop and wakes the loop when it ends. The work runs on the thread pool, or in the
    /// synchronization context in which the loop was started.
    /// </summary>
    public Task RunAsync(Func<Task> work)
    {
        Task task = YieldFirstAsync(work);
        _ = task.ContinueWith(
            _ => Set(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return task;
    }

    /// <summary>Sleeps until a signal arrives, at most for <paramref name="time"/>.</summary>
    public async Task SleepAsync(TimeSpan time)
    {
        using var enough = new CancellationTokenSource(time, clock);
        try
        {
            await _signals.Reader.ReadAsync(enough.Token);
        }
        catch (OperationCanceledException)
        {
            // The time is up.
        }
    }

    private static async Task YieldFirstAsync(Func<Task> work)
    {
        await Task.Yield();
        await work();
    }
}

using System.Threading.Channels;

namespace Atelier.Grains.Workers;

/// <summary>Wakes a loop that sleeps; signals that come while it is awake end its next sleep at once.</summary>
internal sealed class WakeSignal(TimeProvider clock)
{
    private readonly Channel<bool> _signals =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    /// <summary>Wakes the loop.</summary>
    public void Set() => _signals.Writer.TryWrite(true);

    /// <summary>Sleeps until a signal comes, or for a time.</summary>
    public async Task SleepAsync(TimeSpan time)
    {
        using var enough = new CancellationTokenSource(time, clock);
        try
        {
            await _signals.Reader.ReadAsync(enough.Token);
        }
        catch (OperationCanceledException)
        {
            // The time is over.
        }
    }
}

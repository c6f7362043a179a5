// Goal: no signal is lost, and without one a loop sleeps its time and no longer. Method: sleeps of an hour that signals
// must end, and one of no time at all.
using Atelier.Grains.Workers;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

public sealed class WakeSignalTests
{
    private static readonly TimeSpan s_long = TimeSpan.FromHours(1);

    private readonly WakeSignal _signal = new(TimeProvider.System);

    [Fact]
    public async Task ASignal_EndsTheSleepAtHand_OrTheNext()
    {
        Task sleep = _signal.SleepAsync(s_long);
        Assert.False(sleep.IsCompleted);
        _signal.Set();
        await sleep;
        _signal.Set();
        await _signal.SleepAsync(s_long);
    }

    [Fact]
    public async Task SignalsThatComeTogether_EndOneSleep()
    {
        _signal.Set();
        _signal.Set();
        await _signal.SleepAsync(s_long);
        Task second = _signal.SleepAsync(s_long);
        Assert.False(second.IsCompleted);
        _signal.Set();
        await second;
    }

    [Fact]
    public async Task WithoutASignal_TheTimeEndsTheSleep()
    {
        await _signal.SleepAsync(TimeSpan.Zero);
        Task next = _signal.SleepAsync(s_long);
        Assert.False(next.IsCompleted);
        _signal.Set();
        await next;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WorkThatIsOver_WakesTheLoop_HoweverItEnded(bool fails)
    {
        var gate = new TaskCompletionSource();
        Task work = _signal.RunAsync(() => gate.Task.WaitAsync(Timeout.InfiniteTimeSpan));
        Task sleep = _signal.SleepAsync(s_long);
        Assert.False(sleep.IsCompleted);
        if (fails)
        {
            gate.SetException(new InvalidOperationException("broken"));
        }
        else
        {
            gate.SetResult();
        }

        await sleep;
        Assert.Equal((true, fails), (work.IsCompleted, work.IsFaulted));
    }

    // Work that ends at once, and work that throws before its first await, do not run in their caller.
    [Fact]
    public async Task Work_BeginsApartFromItsCaller()
    {
        using var entered = new ManualResetEventSlim();
        Task work = _signal.RunAsync(() =>
        {
            entered.Wait(TestContext.Current.CancellationToken);
            throw new InvalidOperationException("broken");
        });
        Assert.False(work.IsCompleted);
        entered.Set();
        await _signal.SleepAsync(s_long);
        Assert.IsType<InvalidOperationException>(work.Exception!.InnerException);
    }
}

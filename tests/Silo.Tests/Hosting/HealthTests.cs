// Goal: health reflects what a request would encounter: a store that writes, is full, fails or hangs; and a clock that
// is set. Method: a store that behaves as the test says, and a wall clock that the test sets.
using Atelier.Grains.Ports;
using Atelier.ServiceDefaults;
using Atelier.Silo.Hosting;
using Atelier.Silo.Store;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class HealthTests
{
    private static readonly HealthCheckContext s_context = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TheStore_IsReady_WhileItWrites_AndDegraded_WhileItIsFull()
    {
        var store = new FakeStore();
        using var watch = new StoreWatch(store, TimeProvider.System, NullLogger<StoreWatch>.Instance);
        await watch.StartAsync(Cancellation);
        await BecomesAsync(watch, HealthStatus.Healthy);
        store.Beat = () => Task.FromException(new StoreFullException("no room"));
        await BecomesAsync(watch, HealthStatus.Degraded);
        store.Beat = () => Task.CompletedTask;
        await BecomesAsync(watch, HealthStatus.Healthy);
        store.Beat = () => Task.FromException(new StoreUnavailableException("broken"));
        await BecomesAsync(watch, HealthStatus.Unhealthy);
        Assert.Contains("broken", (await watch.CheckHealthAsync(s_context, Cancellation)).Description);
        await watch.StopAsync(Cancellation);
    }

    [Fact]
    public async Task AStoreThatHangs_IsNotReady_IsAskedOnce_AndComesBack()
    {
        var hang = new TaskCompletionSource();
        var store = new FakeStore { Beat = () => hang.Task.WaitAsync(Timeout.InfiniteTimeSpan) };
        var time = new FakeTime();
        using var watch = new StoreWatch(store, time, NullLogger<StoreWatch>.Instance);
        await watch.StartAsync(Cancellation);
        for (int i = 0; i < 4; i++)
        {
            await time.TimersAsync(2); // One for the next heartbeat, one for the patience with this one.
            time.Advance(TimeSpan.FromSeconds(2));
            await BecomesAsync(watch, HealthStatus.Unhealthy);
        }

        Assert.Equal(1, store.Beats);
        hang.SetResult();
        await BecomesAsync(watch, HealthStatus.Healthy);
        await watch.StopAsync(Cancellation);
    }

    // A process that holds the store itself may fix it by restarting; one that uses a server cannot.
    [Theory]
    [InlineData(true, HealthStatus.Unhealthy)]
    [InlineData(false, HealthStatus.Healthy)]
    public async Task AStoreThatStaysBroken_EndsTheProcessThatHoldsIt(bool isInProcess, HealthStatus expected)
    {
        var clock = new WallClock();
        var store = new FakeStore
        {
            IsInProcess = isInProcess,
            Beat = () => Task.FromException(new IOException("broken")),
        };
        using var watch = new StoreWatch(store, clock, NullLogger<StoreWatch>.Instance);
        var live = new StoreLiveCheck(store, watch);
        await watch.StartAsync(Cancellation);
        await BecomesAsync(watch, HealthStatus.Unhealthy);
        Assert.Equal(HealthStatus.Healthy, (await live.CheckHealthAsync(s_context, Cancellation)).Status);
        clock.Passed = TimeSpan.FromMinutes(1);
        Assert.Equal(expected, (await live.CheckHealthAsync(s_context, Cancellation)).Status);
        store.Beat = () => Task.FromException(new StoreFullException("no room"));
        await BecomesAsync(watch, HealthStatus.Degraded);
        Assert.Equal(HealthStatus.Healthy, (await live.CheckHealthAsync(s_context, Cancellation)).Status);
        await watch.StopAsync(Cancellation);
    }

    [Theory]
    [InlineData(8 * 24)]
    [InlineData(-8 * 24)]
    [InlineData(-1)]
    public void ASteadyClock_DoesNotJump(int hours)
    {
        var wall = new WallClock();
        var clock = new SteadyClock(wall);
        DateTimeOffset before = clock.GetUtcNow();
        wall.Set += TimeSpan.FromHours(hours);
        Assert.Equal(before, clock.GetUtcNow());
        Assert.Equal(TimeSpan.FromHours(hours), clock.WallStep);
        wall.Passed += TimeSpan.FromSeconds(5);
        Assert.Equal(before + TimeSpan.FromSeconds(5), clock.GetUtcNow());
    }

    [Theory]
    [InlineData(11, true)]
    [InlineData(-11, true)]
    [InlineData(9, false)]
    [InlineData(-9, false)]
    public async Task AClockThatIsSet_EndsTheProcess(int seconds, bool ends)
    {
        var wall = new WallClock();
        var lifetime = new Lifetime();
        using var watch = new ClockWatch(new SteadyClock(wall), lifetime, NullLogger<ClockWatch>.Instance);
        await watch.StartAsync(Cancellation);
        Assert.Equal(HealthStatus.Healthy, (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        wall.Set = TimeSpan.FromSeconds(seconds);
        Assert.Equal(
            ends ? HealthStatus.Unhealthy : HealthStatus.Healthy,
            (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        await Task.WhenAny(lifetime.Stopped, Task.Delay(TimeSpan.FromSeconds(ends ? 30 : 1), Cancellation));
        Assert.Equal(ends, lifetime.Stopped.IsCompleted);
        await watch.StopAsync(Cancellation);
    }

    private static async Task BecomesAsync(StoreWatch check, HealthStatus status)
    {
        HealthStatus now = default;
        for (int i = 0; i < 1500 && (i == 0 || now != status); i++)
        {
            await Task.Delay(20, Cancellation);
            now = (await check.CheckHealthAsync(s_context, Cancellation)).Status;
        }

        Assert.Equal(status, now);
    }

    private sealed class FakeStore : IClusterStore
    {
        private int _beats;

        public Func<Task> Beat { get; set; } = () => Task.CompletedTask;

        public int Beats => Volatile.Read(ref _beats);

        public IReadOnlyList<string> Warnings => [];

        public bool IsInProcess { get; init; } = true;

        public void AddTo(ISiloBuilder silo) => throw new NotSupportedException();

        public Task BeatAsync()
        {
            Interlocked.Increment(ref _beats);
            return Beat();
        }

        public Task<int> NextGenerationAsync(string endpoint, int fromClock) => throw new NotSupportedException();

        public void Dispose()
        {
        }
    }

    // Real timers; the test sets the wall clock and the elapsed time.
    private sealed class WallClock : TimeProvider
    {
        public TimeSpan Set { get; set; }

        public TimeSpan Passed { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddYears(50) + Set + Passed;

        public override long GetTimestamp() => Passed.Ticks;
    }

    private sealed class Lifetime : IHostApplicationLifetime
    {
        private readonly TaskCompletionSource _asked = new();

        public Task Stopped => _asked.Task.WaitAsync(Timeout.InfiniteTimeSpan);

        public CancellationToken ApplicationStarted => CancellationToken.None;

        public CancellationToken ApplicationStopping => CancellationToken.None;

        // Nothing to dispose: the watch's thread may still use it when the test is over.
        public CancellationToken ApplicationStopped => new(canceled: _asked.Task.IsCompleted);

        public void StopApplication()
        {
            _asked.TrySetResult();
        }
    }
}

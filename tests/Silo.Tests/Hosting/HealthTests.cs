// Goal: health reflects what a request would encounter: a store that writes, is full, fails or hangs; and a clock that
// is set. Method: a store that behaves as the test says, and a wall clock that the test sets.
using Atelier.Grains.Ports;
using Atelier.Grains.Tests;
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
    // At least the time between two heartbeats.
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private static readonly HealthCheckContext s_context = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TheStore_IsReady_WhileItWrites_AndDegraded_WhileItIsFull()
    {
        var store = new FakeStore();
        var time = new FakeTime();
        using var watch = new StoreWatch(store, time, NullLogger<StoreWatch>.Instance);
        await watch.StartAsync(Cancellation);
        await time.TimersAsync(1);
        await BecomesAsync(watch, HealthStatus.Healthy);
        store.Beat = () => Task.FromException(new StoreFullException("no room"));
        time.Advance(s_period);
        await BecomesAsync(watch, HealthStatus.Degraded);
        store.Beat = () => Task.CompletedTask;
        time.Advance(s_period);
        await BecomesAsync(watch, HealthStatus.Healthy);
        store.Beat = () => Task.FromException(new StoreUnavailableException("broken"));
        time.Advance(s_period);
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
        var time = new FakeTime();
        var store = new FakeStore
        {
            IsInProcess = isInProcess,
            Beat = () => Task.FromException(new IOException("broken")),
        };
        using var watch = new StoreWatch(store, time, NullLogger<StoreWatch>.Instance);
        var live = new StoreLiveCheck(store, watch);
        await watch.StartAsync(Cancellation);
        await BecomesAsync(watch, HealthStatus.Unhealthy);
        Assert.Equal(HealthStatus.Healthy, (await live.CheckHealthAsync(s_context, Cancellation)).Status);
        time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(expected, (await live.CheckHealthAsync(s_context, Cancellation)).Status);
        store.Beat = () => Task.FromException(new StoreFullException("no room"));
        time.Advance(s_period);
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
        var wall = new FakeTime();
        var clock = new SteadyClock(wall);
        DateTimeOffset before = clock.GetUtcNow();
        wall.Set += TimeSpan.FromHours(hours);
        Assert.Equal(before, clock.GetUtcNow());
        Assert.Equal(TimeSpan.FromHours(hours), clock.WallStep);
        wall.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(before + TimeSpan.FromSeconds(5), clock.GetUtcNow());
    }

    [Theory]
    [InlineData(11, true)]
    [InlineData(-11, true)]
    [InlineData(9, false)]
    [InlineData(-9, false)]
    public async Task AClockThatIsSet_EndsTheProcess(int seconds, bool ends)
    {
        var wall = new FakeTime();
        var lifetime = new Lifetime();
        using var watch = new ClockWatch(new SteadyClock(wall), lifetime, NullLogger<ClockWatch>.Instance);
        await watch.StartAsync(Cancellation);
        await wall.TimersAsync(1);
        Assert.Equal(HealthStatus.Healthy, (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        wall.Set = TimeSpan.FromSeconds(seconds);
        Assert.Equal(
            ends ? HealthStatus.Unhealthy : HealthStatus.Healthy,
            (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        wall.Advance(TimeSpan.FromMinutes(1));
        if (ends)
        {
            await lifetime.Stopped;
        }

        await watch.StopAsync(Cancellation);
        Assert.Equal(ends, lifetime.Stopped.IsCompleted);
    }

    private static Task BecomesAsync(StoreWatch check, HealthStatus status) => Eventually.TrueAsync(
        async () => (await check.CheckHealthAsync(s_context, Cancellation)).Status == status, () => $"{status}");

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

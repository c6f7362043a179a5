// Goal: a silo is not ready while its device does not work, and stays ready while the device is only busy. Method: a
// device whose probe the test sets, and clocks that are hurried or set manually.
using System.Collections.Concurrent;
using System.Reflection;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Model.Data.Caching;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting;
using Atelier.Silo.Training;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class DeviceWatchTests
{
    private static readonly HealthCheckContext s_context = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ADevice_IsReady_OnceItHasShownThatItWorks_AndNotWhileItDoesNot()
    {
        var log = new LogKeeper();
        var (first, device) = (new TaskCompletionSource(), DeviceProxy.Make());
        device.Probe = () => first.Task.WaitAsync(Timeout.InfiniteTimeSpan);
        using var watch = new DeviceWatch(
            [device.Host], [], new HurriedClock(), new LoggerFactory([log]).CreateLogger<DeviceWatch>());
        await watch.StartAsync(Cancellation);
        HealthCheckResult unknown = await watch.CheckHealthAsync(s_context, Cancellation);
        Assert.Equal(HealthStatus.Unhealthy, unknown.Status);
        Assert.Contains("gpu7", unknown.Description);

        first.SetResult();
        await BecomesAsync(watch, HealthStatus.Healthy);
        device.Probe = () => throw new InvalidOperationException("the answer is wrong");
        await BecomesAsync(watch, HealthStatus.Unhealthy);
        Assert.Contains(
            "the answer is wrong", (await watch.CheckHealthAsync(s_context, Cancellation)).Description);
        await device.ProbesAsync(3);
        device.Probe = () => Task.CompletedTask;
        await BecomesAsync(watch, HealthStatus.Healthy);
        await watch.StopAsync(Cancellation);

        LogEvent fails = Assert.Single(log.Of(607));
        Assert.Equal(("gpu7", "the answer is wrong"), (fails["Device"], fails["Reason"]));
        Assert.Equal(2, log.Of(608).Length);
    }

    // A silo that only trains has no device that draws. A device that does both is probed once.
    [Fact]
    public async Task ADeviceThatTrains_IsProbedToo()
    {
        var lane = new TorchDeviceOptions { Name = "gpu7" };
        using DeviceLane own = DeviceLane.Of(lane, TimeProvider.System);
        var log = new LogKeeper();
        using var watch = new DeviceWatch(
            [], [new TorchTraining(own, lane, new FolderDataSets())], new HurriedClock(),
            new LoggerFactory([log]).CreateLogger<DeviceWatch>());
        Assert.Contains(
            "gpu7 has not passed a probe yet", (await watch.CheckHealthAsync(s_context, Cancellation)).Description);
        await watch.StartAsync(Cancellation);
        await BecomesAsync(watch, HealthStatus.Healthy);
        own.Dispose();
        await BecomesAsync(watch, HealthStatus.Unhealthy);
        await watch.StopAsync(Cancellation);

        DeviceProxy drawing = DeviceProxy.Make();
        drawing.Probe = () => throw new InvalidOperationException("the answer is wrong");
        using var both = new DeviceWatch(
            [drawing.Host], [new TorchTraining(own, lane, new FolderDataSets())], new HurriedClock(),
            new LoggerFactory([log]).CreateLogger<DeviceWatch>());
        await both.StartAsync(Cancellation);
        await drawing.ProbesAsync(3);
        Assert.Contains("the answer is wrong", (await both.CheckHealthAsync(s_context, Cancellation)).Description);
        await both.StopAsync(Cancellation);
    }

    // A device that evaluates for minutes does not answer probes meanwhile.
    [Fact]
    public async Task ADeviceThatIsBusy_StaysReady()
    {
        var (log, time, device) = (new LogKeeper(), new FakeTime(), DeviceProxy.Make());
        using var watch = new DeviceWatch(
            [device.Host], [], time, new LoggerFactory([log]).CreateLogger<DeviceWatch>());
        await watch.StartAsync(Cancellation);
        await BecomesAsync(watch, HealthStatus.Healthy);
        device.Probe = () => throw new DeviceBusyException("32 callers wait");
        await ProbeAsync(3);
        Assert.Equal(HealthStatus.Healthy, (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        var (busy, end) = (new TaskCompletionSource(), new TaskCompletionSource());
        device.Probe = () => busy.Task.WaitAsync(Timeout.InfiniteTimeSpan);
        await ProbeAsync(1);
        time.Advance(TimeSpan.FromHours(1));
        Assert.Equal(HealthStatus.Healthy, (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        device.Probe = () => end.Task.WaitAsync(Timeout.InfiniteTimeSpan);
        busy.SetResult();
        await ProbeAsync(1);
        Assert.Equal(HealthStatus.Healthy, (await watch.CheckHealthAsync(s_context, Cancellation)).Status);
        Assert.Empty(log.Of(607));
        await watch.StopAsync(Cancellation);

        async Task ProbeAsync(int count)
        {
            for (int i = 1; i <= count; i++)
            {
                await time.TimersAsync(1);
                time.Advance(TimeSpan.FromSeconds(5));
                await device.ProbesAsync(i);
            }
        }
    }

    private static Task BecomesAsync(DeviceWatch watch, HealthStatus status) => Eventually.TrueAsync(
        async () => (await watch.CheckHealthAsync(s_context, Cancellation)).Status == status, () => $"{status}");

    // Waits of seconds take milliseconds.
    private sealed class HurriedClock : TimeProvider
    {
        public override ITimer CreateTimer(
            TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            base.CreateTimer(callback, state, dueTime / 500, period);
    }
}

/// <summary>A device that supports only its description and probes.</summary>
public class DeviceProxy : DispatchProxy
{
    private readonly ConcurrentQueue<long> _probes = new();

    private volatile Func<Task> _probe = () => Task.CompletedTask;

    public Func<Task> Probe
    {
        get => _probe;
        set
        {
            _probe = value;
            _probes.Clear();
        }
    }

    public IDeviceHost Host => (IDeviceHost)(object)this;

    public static DeviceProxy Make() => (DeviceProxy)(object)Create<IDeviceHost, DeviceProxy>();

    /// <summary>Waits until the current probe was called so many times.</summary>
    public Task ProbesAsync(int count) => Eventually.TrueAsync(() => _probes.Count >= count);

    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
    {
        switch (targetMethod!.Name)
        {
            case $"get_{nameof(IDevice.Description)}":
                return new DeviceDescription
                {
                    Device = "gpu7", DeviceKind = "test", Roles = WorkRoles.All, Slots = 1, Rows = 1, MemoryBytes = 1,
                    Models = [],
                };
            case nameof(IDevice.ProbeAsync):
                _probes.Enqueue(0);
                return AskAsync();
            default:
                throw new NotSupportedException(targetMethod.Name);
        }
    }

    private async Task AskAsync() => await Probe();
}

// The pool of devices as a grain: the pure pool, the clock, and the list of open runs. It stores nothing: after a
// restart, the devices report which runs they train.
using Atelier.Contracts.Training;
using Atelier.Grains.Placement;
using Atelier.Grains.Pools;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Training;

/// <summary>The pool of devices that pictures and training share; the grain's key is 0.</summary>
[Alias("atelier.IDevicePoolGrain")]
internal interface IDevicePoolGrain : IGrainWithIntegerKey
{
    /// <summary>Records a device's report and returns what the device is used for.</summary>
    /// <param name="device">The report; runs are named by the keys of their current stages.</param>
    [Alias("Report")]
    Task<DeviceUse> ReportAsync(PoolDevice device);

    /// <summary>Number of devices that the open runs can use.</summary>
    [Alias("DevicesWanted")]
    Task<int> DevicesWantedAsync();
}

/// <summary>Lends devices to runs.</summary>
[GrainType("devicepool")]
[ControlSilo]
internal sealed class DevicePoolGrain(IOptions<PoolOptions> options, IGrainFactory grains, TimeProvider clock)
    : Grain, IDevicePoolGrain
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private readonly long _startedAt = clock.GetTimestamp();
    private readonly DevicePool _pool = new(options.Value);
    private bool _isKnown;

    private TimeSpan Now => clock.GetElapsedTime(_startedAt);

    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        await ReadRunsAsync();
        this.RegisterGrainTimer(TickAsync, s_period, s_period);
    }

    // Until the list of runs is known, a device keeps the run that it trains.
    public Task<DeviceUse> ReportAsync(PoolDevice device) =>
        Task.FromResult(_isKnown ? _pool.Report(device, Now) : new DeviceUse(device.Run, false));

    public Task<int> DevicesWantedAsync() => Task.FromResult(_pool.DevicesWanted);

    private async Task TickAsync(CancellationToken cancellation)
    {
        await ReadRunsAsync();
        if (!_isKnown)
        {
            return;
        }

        foreach (string device in _pool.Tick(Now))
        {
            grains.GetGrain<ITrainerGrain>(device).WakeAsync().Ignore();
        }
    }

    private async Task ReadRunsAsync()
    {
        if (await GrainCalls.TryAsync(() => grains.GetGrain<ITrainingBoardGrain>(0).ListOpenAsync()) is { } runs)
        {
            _isKnown = true;
            _pool.SetRuns(runs.Where(run => run.Phase == RunPhase.Running)
                .Select(run => new PoolRun(run.StageKey, run.Priority, run.Weight)));
        }
    }
}

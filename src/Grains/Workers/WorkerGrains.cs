// The workers of a silo: a loop for each device, which starts and drains with the silo, and the grain that represents
// the loop.
using Atelier.Contracts.Workers;
using Atelier.Grains.Models;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Concurrency;
using Orleans.Placement;

namespace Atelier.Grains.Workers;

/// <summary>Runs the loops of this silo's devices.</summary>
internal sealed class WorkerService : ILifecycleParticipant<ISiloLifecycle>, IDeviceDrain
{
    private readonly Dictionary<string, WorkerLoop> _loops;
    private readonly IGrainFactory _grains;
    private readonly List<Task> _running = [];

    public WorkerService(
        IEnumerable<IDeviceHost> devices, IBlobStore blobs, IGrainFactory grains, IOptions<WorkerOptions> options,
        IOptions<ModelOptions> models, DeviceShares shares, TimeProvider clock, WorkerInstruments instruments,
        ILocalSiloDetails silo, ILoggerFactory loggers)
    {
        _grains = grains;
        _loops = devices
            .Select(device => new WorkerLoop(
                new WorkerKey(silo.Name, device.Description.Device), device, blobs, grains, options.Value,
                models.Value, shares.Of(device.Description.Device), clock, instruments,
                loggers.CreateLogger<WorkerLoop>()))
            .ToDictionary(loop => loop.Key.ToString(), StringComparer.Ordinal);
    }

    /// <summary>The loop of a worker of this silo; null if there is no such worker.</summary>
    public WorkerLoop? Find(string key) => _loops.GetValueOrDefault(key);

    // The last stage starts after all others and stops before them: a worker's calls need the whole silo.
    public void Participate(ISiloLifecycle observer) => observer.Subscribe(
        nameof(WorkerService), ServiceLifecycleStage.Last, StartAsync, StopAsync);

    /// <inheritdoc/>
    public Task DrainAsync() => Task.WhenAll(_loops.Values.Select(loop => loop.DrainAsync()));

    private Task StartAsync(CancellationToken cancellation)
    {
        foreach ((string key, WorkerLoop loop) in _loops)
        {
            _running.Add(Task.Run(loop.RunAsync, CancellationToken.None));
            _grains.Worker(key).WakeAsync().Ignore();
        }

        return Task.CompletedTask;
    }

    private async Task StopAsync(CancellationToken cancellation)
    {
        await DrainAsync().WaitAsync(cancellation);
        await Task.WhenAll(_running).WaitAsync(cancellation);
    }
}

/// <summary>Represents a worker of the silo on which it is activated.</summary>
[GrainType("worker")]
[OwnSilo, Immovable, KeepAlive, Reentrant]
internal sealed class WorkerGrain(WorkerService workers, IEnumerable<IModelFollower> followers) : Grain, IWorkerGrain
{
    private WorkerLoop _loop = null!;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _loop = workers.Find(this.GetPrimaryKeyString())
            ?? throw new ArgumentException($"There is no worker '{this.GetPrimaryKeyString()}' on this silo.");
        return Task.CompletedTask;
    }

    public Task<WorkerStatus> StatusAsync() => Task.FromResult(_loop.Status);

    public Task WakeAsync()
    {
        _loop.Wake();
        return Task.CompletedTask;
    }

    public Task ModelsChangedAsync()
    {
        foreach (IModelFollower follower in followers)
        {
            follower.Wake();
        }

        return Task.CompletedTask;
    }

    public Task DrainAsync() => _loop.DrainAsync();
}

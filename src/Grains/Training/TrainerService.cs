// The trainers of a silo: a loop for each device that is lent to training, and the grain that represents it.
using Atelier.Contracts.Workers;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Workers;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Concurrency;
using Orleans.Placement;

namespace Atelier.Grains.Training;

/// <summary>Runs the loops of this silo's trainers.</summary>
internal sealed class TrainerService : ILifecycleParticipant<ISiloLifecycle>, IDeviceDrain, IDisposable
{
    private readonly Dictionary<string, TrainerLoop> _loops;
    private readonly CancellationTokenSource _stopping = new();
    private readonly List<Task> _running = [];

    public TrainerService(
        IEnumerable<ITrainingWork> devices, IEnumerable<IDeviceHost> servers, IEnumerable<ITrainerNetwork> networks,
        IBlobStore blobs, IGrainFactory grains, DeviceShares shares, IOptions<TrainerOptions> options,
        IOptions<PoolOptions> pool, TimeProvider clock, ILocalSiloDetails silo, TrainingInstruments instruments,
        ILogger<TrainerLoop> logger)
    {
        string[] serving = [.. servers.Select(one => one.Description.Device)];

        // The generation of the silo's address distinguishes this process from earlier ones of the same silo.
        _loops = devices
            .Select(device => new TrainerLoop(
                new WorkerKey(silo.Name, device.Device), silo.SiloAddress.Generation, device,
                serving.Contains(device.Device), shares.Of(device.Device), networks.First(), blobs, grains,
                options.Value, pool.Value, clock, instruments, logger))
            .ToDictionary(loop => loop.Key.ToString(), StringComparer.Ordinal);
    }

    /// <summary>The loop of a device of this silo; null if the silo does not lend such a device.</summary>
    public TrainerLoop? Find(string key) => _loops.GetValueOrDefault(key);

    // Starts last, like the workers, because a trainer's calls need the whole silo.
    public void Participate(ISiloLifecycle observer) => observer.Subscribe(
        nameof(TrainerService), ServiceLifecycleStage.Last, StartAsync, StopAsync);

    /// <inheritdoc/>
    public void Dispose() => _stopping.Dispose();

    /// <inheritdoc/>
    public async Task DrainAsync()
    {
        await _stopping.CancelAsync();
        await Task.WhenAll(_running).WaitAsync(CancellationToken.None);
    }

    private Task StartAsync(CancellationToken cancellation)
    {
        _running.AddRange(_loops.Values.Select(loop =>
            Task.Run(() => loop.RunAsync(_stopping.Token), CancellationToken.None)));
        return Task.CompletedTask;
    }

    private Task StopAsync(CancellationToken cancellation) => DrainAsync().WaitAsync(cancellation);
}

/// <summary>Represents a trainer of the silo on which the grain is activated.</summary>
[GrainType("trainer")]
[OwnSilo, Immovable, Reentrant]
internal sealed class TrainerGrain(TrainerService trainers) : Grain, ITrainerGrain
{
    private TrainerLoop _loop = null!;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _loop = trainers.Find(this.GetPrimaryKeyString())
            ?? throw new ArgumentException($"This silo does not run a trainer '{this.GetPrimaryKeyString()}'.");
        return Task.CompletedTask;
    }

    public Task WakeAsync()
    {
        _loop.Wake();
        return Task.CompletedTask;
    }

    public Task<string?> StageAsync() => Task.FromResult(_loop.Stage);
}

// A process: its clock, its worker, the activations on it. It may hang, be cut off from the others, and die.
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Workers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Timers;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>Silos that can reach one another, and their view of where grains are.</summary>
internal sealed class ClusterView
{
    public Dictionary<GrainId, SimulatedActivation> Directory { get; init; } = [];
}

internal sealed class SimulatedSilo : ILocalSiloDetails
{
    private readonly SimulatedCluster _cluster;
    private readonly Dictionary<Type, object> _services;
    private readonly Dictionary<(Type, object), object> _references = [];
    private readonly Queue<Action> _held = new();
    private readonly WorkerService _workers;
    private Task _loop = Task.CompletedTask;
    private bool _isFrozen;

    public SimulatedSilo(
        SimulatedCluster cluster, string name, int generation, TimeSpan clockError, SimulatedDevice? device)
    {
        (_cluster, Name, View, Device) = (cluster, name, cluster.View, device);
        Address = SiloAddress.New(System.Net.IPAddress.Loopback, 1 + (name[^1] % 64), generation);
        Clock = new SimulatedClock(cluster.Time, Run, SimulatedCluster.Start + clockError);
        Grains = GrainProxy();
        IBlobStore blobs = cluster.Store.BlobsOf(this);
        device?.Attach(this);
        _services = new Dictionary<Type, object>(cluster.Services)
        {
            [typeof(TimeProvider)] = Clock, [typeof(IGrainFactory)] = Grains,
            [typeof(IBlobStore)] = blobs, [typeof(IStateMeter)] = cluster.Meter,
            [typeof(IClusterMembershipService)] = cluster.MembershipOf(this),
            [typeof(IReminderRegistry)] = cluster.Reminders(this), [typeof(LogLimits)] = new LogLimits(Clock),
        };
        Array.ForEach(TestInstruments.All, one => _services.Add(one.GetType(), one));
        _workers = new WorkerService(
            device is null ? [] : [device], blobs, Grains, Options.Create(cluster.Options.Worker),
            Options.Create(cluster.Options.Models), new DeviceShares(Options.Create(new PoolOptions()), Clock), Clock,
            TestInstruments.Workers, this, NullLoggerFactory.Instance);
        _services.Add(typeof(WorkerService), _workers);
        _services.Add(typeof(IEnumerable<IModelFollower>), Array.Empty<IModelFollower>());
        if (device is not null)
        {
            Worker = _workers.Find(WorkerName)!;
            new SimulatedContext(cluster.Time, this, null).Post(() => _loop = Worker.RunAsync());
        }
    }

    public string Name { get; }

    public SiloAddress Address { get; }

    public SimulatedClock Clock { get; }

    public IGrainFactory Grains { get; }

    public SimulatedDevice? Device { get; }

    public WorkerLoop? Worker { get; }

    public string WorkerName => $"{Name}/d";

    public ClusterView View { get; set; }

    public bool IsAlive { get; private set; } = true;

    /// <summary>Whether it accepts no new activations because it is shutting down.</summary>
    public bool IsLeaving { get; private set; }

    /// <summary>Whether it ended without having handed all of its work back.</summary>
    public bool WasKilled { get; private set; }

    public bool IsUsable => IsAlive && !_isFrozen && !IsLeaving;

    public List<SimulatedActivation> Activations { get; } = [];

    /// <summary>Number of calls that were sent to it.</summary>
    public List<Request> Inbound { get; } = [];

    /// <summary>A service of the process; the grains' own classes are created once.</summary>
    public object? Service(Type type)
    {
        if (!_services.TryGetValue(type, out object? service) && type.IsClass
            && type.Assembly == typeof(GrainCalls).Assembly)
        {
            service = ActivatorUtilities.CreateInstance(new Services(this), type);
            _services.Add(type, service);
        }

        return service;
    }

    /// <summary>
    /// Runs something in the process: at once, or when it returns from a hang; never after its death.
    /// </summary>
    public void Run(Action action)
    {
        if (!IsAlive)
        {
            return;
        }

        if (_isFrozen)
        {
            _held.Enqueue(action);
        }
        else
        {
            action();
        }
    }

    public void Freeze() => _isFrozen = true;

    public void Thaw()
    {
        _isFrozen = false;
        while (_held.TryDequeue(out Action? held))
        {
            _cluster.Time.Post(() => Run(held));
        }
    }

    public void Die()
    {
        (IsAlive, WasKilled) = (false, true);
        _held.Clear();
    }

    /// <summary>Shuts down gracefully: the worker drains, activations leave memory.</summary>
    public async Task LeaveAsync()
    {
        IsLeaving = true;
        if (Worker is { } worker)
        {
            worker.DrainAsync().Ignore();
            await _loop;
            WasKilled = worker.Status.Held > 0;
        }

        Activations.ForEach(activation => activation.Deactivate());
        for (int i = 0; i < 40 && Activations.Count > 0; i++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), Clock);
        }

        IsAlive = false;
    }

    private IGrainFactory GrainProxy() => Workers.GrainProxy.Make<IGrainFactory>((method, arguments) =>
    {
        (Type, object) key = (method.GetGenericArguments()[0], arguments[0]!);
        if (!_references.TryGetValue(key, out object? reference))
        {
            _references.Add(key, reference = _cluster.Reference(this, key.Item1, key.Item2));
        }

        return reference;
    });

    private sealed class Services(SimulatedSilo silo) : IServiceProvider
    {
        public object? GetService(Type serviceType) => silo.Service(serviceType);
    }

    string ILocalSiloDetails.ClusterId => "simulation";

    string ILocalSiloDetails.DnsHostName => Name;

    SiloAddress ILocalSiloDetails.SiloAddress => Address;

    SiloAddress ILocalSiloDetails.GatewayAddress => Address;
}

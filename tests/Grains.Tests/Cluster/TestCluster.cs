// An in-process cluster with fake devices, one per silo, and one blob store; a tenant with high limits.
using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Scaling;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Hosting;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Core.Internal;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.Storage;
using Orleans.TestingHost;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

/// <summary>The system's time plus an offset; and, independently, the elapsed time plus an offset.</summary>
internal sealed class ShiftedClock : TimeProvider
{
    private long _shift;
    private long _passed;

    public TimeSpan Shift
    {
        get => new(Interlocked.Read(ref _shift));
        set => Interlocked.Exchange(ref _shift, value.Ticks);
    }

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + Shift;

    public override long GetTimestamp() => System.GetTimestamp() + Interlocked.Read(ref _passed);

    /// <summary>Advances the elapsed time; the wall clock does not change.</summary>
    public void Pass(TimeSpan time) => Interlocked.Add(ref _passed, (long)(time.TotalSeconds * TimestampFrequency));
}

/// <summary>Lets a test fail or delay calls to grains.</summary>
internal sealed class CallFilter(TestCluster cluster) : IIncomingGrainCallFilter
{
    public async Task Invoke(IIncomingGrainCallContext context)
    {
        object? argument = context.Request.GetArgumentCount() > 0 ? context.Request.GetArgument(0) : null;
        string key = context.TargetId.Key.ToString() ?? "";
        string method = context.InterfaceMethod?.Name ?? "";
        await (cluster.Calling?.Invoke(method, key, argument) ?? Task.CompletedTask);
        await context.Invoke();
        await (cluster.Answering?.Invoke(method, key, argument) ?? Task.CompletedTask);
    }
}

/// <summary>The store's free space, as set by the test.</summary>
internal sealed class FakeMeter : IStateMeter
{
    public bool HasRoom { get; set; } = true;

    public long? Bytes { get; set; }

    public ValueTask<long?> BytesOfAsync(TenantId tenant) => new(Bytes);
}

internal sealed class TestCluster : IAsyncDisposable
{
    public static readonly TenantId Tenant = new("tenant");
    private readonly InProcessTestCluster _cluster;

    private TestCluster(InProcessTestCluster cluster) => _cluster = cluster;

    public FakeBlobStore Blobs { get; private init; } = new();

    public FakeMeter Meter { get; } = new();

    public SharedStore Store { get; private init; } = new();

    public ShiftedClock Clock { get; } = new();

    /// <summary>Log messages of this project's code.</summary>
    public IEnumerable<string> Logs => Log.Events.Select(one => one.Text);

    /// <summary>The same events with their fields.</summary>
    public LogKeeper Log { get; } = new();

    /// <summary>The meters of all silos.</summary>
    public IMeterFactory[] Meters =>
        [.. _cluster.Silos.Select(silo => silo.ServiceProvider.GetRequiredService<IMeterFactory>())];

    /// <summary>
    /// Called before a grain is called, with the method's name, the grain's key and the first argument. It may throw,
    /// or wait.
    /// </summary>
    public Func<string, string, object?, Task>? Calling { get; set; }

    /// <summary>The same after a call has taken effect and before its answer.</summary>
    public Func<string, string, object?, Task>? Answering { get; set; }

    public ConcurrentDictionary<string, FakeDevice> Devices { get; } = new();

    public IGrainFactory Grains => _cluster.Client;

    public InProcessTestCluster Silos => _cluster;

    public static async Task<TestCluster> StartAsync(
        short silos, Func<string, FakeDevice?> device, Action<GrainsOptions>? configure = null,
        TestCluster? twin = null, Action<string, IServiceCollection>? services = null)
    {
        var builder = new InProcessTestClusterBuilder(silos);
        TestCluster cluster = null!;
        builder.ConfigureSilo((options, silo) =>
        {
            silo.Services.AddSingleton<OrleansGrainStorageSerializer>();
            silo.Services.AddSingleton<IGrainStorage>(
                services =>
                    new SharedStorage(cluster.Store, services.GetRequiredService<OrleansGrainStorageSerializer>()));
            silo.Services.AddSingleton<TimeProvider>(cluster.Clock);
            silo.Services.AddSingleton<IStateMeter>(cluster.Meter);
            silo.UseInMemoryReminderService();
            silo.Configure<SiloMessagingOptions>(messaging => messaging.ResponseTimeout = TimeSpan.FromSeconds(3));
            silo.AddAtelierGrains();
            var grains = new GrainsOptions();
            grains.OpenSet.Partitions = 4;
            grains.OpenSet.WalkPeriod = TimeSpan.FromSeconds(2);
            grains.Queue.LeaseTime = TimeSpan.FromSeconds(1);
            grains.Generation.ClaimQuiet = TimeSpan.FromSeconds(0.5);
            grains.Retention.Step = TimeSpan.FromDays(1000);
            grains.Worker.IdlePeriod = TimeSpan.FromMilliseconds(100);
            grains.Worker.SnapshotPeriod = TimeSpan.FromMilliseconds(50);
            grains.Worker.OnFault = error => Assert.Fail(error.ToString());
            configure?.Invoke(grains);
            grains.ApplyTo(silo.Services);
            silo.Services.AddSingleton<IBlobStore>(_ => cluster.Blobs);
            services?.Invoke(options.SiloName, silo.Services);
            silo.AddIncomingGrainCallFilter(new CallFilter(cluster));
            silo.Services.AddLogging(logging => logging.AddFilter("Atelier", LogLevel.Debug));
            silo.Services.AddSingleton<ILoggerProvider>(cluster.Log);
            FakeDevice? own = device(options.SiloName);
            silo.UseSiloMetadata(new Dictionary<string, string>
            {
                [IClusterGrain.DevicesMetadata] = own?.Description.Device ?? "",
                [IPoolGrain.Metadata] = own is null ? "control" : "pool",
            });
            if (own is not null)
            {
                silo.Services.AddSingleton<IDeviceHost>(own);
                silo.Services.AddSingleton(_ => cluster.Devices[options.SiloName] = own);
            }
        });
        builder.ConfigureClient(
            client => client.Configure<ClientMessagingOptions>(m => m.ResponseTimeout = TimeSpan.FromSeconds(5)));
        cluster = twin is null
            ? new TestCluster(builder.Build())
            : new TestCluster(builder.Build()) { Blobs = twin.Blobs, Store = twin.Store };
        await cluster._cluster.DeployAsync();
        TenantAnswer tenant = await cluster.Grains.Tenant(Tenant).PutAsync(
            new TenantSettings { RequestsPerMinute = 100_000 });
        Assert.NotNull(tenant.View);
        await cluster.Grains.Catalog().RegisterAsync(FakeDevice.Card(0));
        return cluster;
    }

    public static GenerationSpec Spec(int seed, int steps = 10, int model = 0) => new()
    {
        Model = FakeDevice.ModelOf(model), Prompt = $"picture {seed}", Seed = (ulong)seed, Steps = steps, Width = 64,
        Height = 64,
    };

    public IGenerationGrain Generation(string id) => Grains.Generation(new GenerationKey(Tenant, new GenerationId(id)));

    /// <summary>Watches a generation to its end, and resubscribes from the last event if a stream breaks.</summary>
    public async Task<List<GenerationEvent>> WatchAsync(string id)
    {
        var events = new List<GenerationEvent>();
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(TimeSpan.FromSeconds(40));
        while (events.Count == 0 || !events[^1].IsLast)
        {
            try
            {
                EventNumber after = events.Count == 0 ? EventNumber.Before : events[^1].Number;
                await foreach (GenerationEvent one in Generation(id).WatchAsync(after).WithCancellation(patience.Token))
                {
                    events.Add(one);
                }
            }
            catch (Exception error) when (!patience.IsCancellationRequested && GrainCalls.IsBrokenWatch(error))
            {
                await Task.Delay(50, cancellation);
            }
        }

        return events;
    }

    /// <summary>Submits until there is an answer.</summary>
    public Task<SubmitAnswer> SubmitAsync(string id, Submission submission) =>
        AnsweredAsync(() => Generation(id).SubmitAsync(submission));

    /// <summary>Repeats a call until there is an answer.</summary>
    public static async Task<T> AnsweredAsync<T>(Func<Task<T>> call)
    {
        while (true)
        {
            try
            {
                return await call();
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                await Task.Delay(50, TestContext.Current.CancellationToken);
            }
        }
    }

    /// <summary>Deactivates a grain, as its silo's death would.</summary>
    public static async Task DeactivateAsync(IAddressable grain) =>
        await grain.Cast<IGrainManagementExtension>().DeactivateOnIdle();

    /// <summary>Waits until a condition holds.</summary>
    public static Task UntilAsync(Func<Task<bool>> condition, double seconds = 60) =>
        Eventually.TrueAsync(condition, seconds: seconds);

    public async ValueTask DisposeAsync() => await _cluster.DisposeAsync();
}

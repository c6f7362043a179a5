// Goal: with either store, the later of two writers is refused, what was confirmed survives the store's death, and
// every start of a silo has a higher number than those before. Method: the same tests over a database in a folder,
// which is closed and opened, and over a Redis server, which is killed and started again; states through the storage
// that the store registers for grains.
using Atelier.Silo.Hosting;
using Atelier.Silo.Store;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Serialization;
using Orleans.Storage;
using Xunit;

namespace Atelier.Silo.Tests.Store;

public sealed class SqliteClusterStoreTests : ClusterStoreTests, IDisposable
{
    private readonly StoreFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    internal override Task<IClusterStore> OpenAsync() => Task.FromResult<IClusterStore>(_folder.Open());
}

public sealed class RedisClusterStoreTests : ClusterStoreTests, IAsyncLifetime
{
    private readonly RedisServer _server = new();

    public async ValueTask InitializeAsync() => await _server.StartAsync();

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    internal override async Task<IClusterStore> OpenAsync() => await RedisClusterStore.OpenAsync(
        new SiloSettings { Redis = _server.Address }.StoreOptions()!, "atelier", TimeProvider.System);

    protected override async Task RestartAsync()
    {
        await _server.KillAsync();
        await _server.StartAsync();
    }
}

public abstract class ClusterStoreTests
{
    [Fact]
    public async Task AStart_HasAHigherNumberThanThoseBefore_WhateverTheClockSays()
    {
        using (IClusterStore store = await OpenAsync())
        {
            Assert.Equal(1000, await store.NextGenerationAsync("127.0.0.1:1", 1000));
            Assert.Equal(1001, await store.NextGenerationAsync("127.0.0.1:1", 500));
            Assert.Equal(1002, await store.NextGenerationAsync("127.0.0.1:1", 1001));
            Assert.Equal(500, await store.NextGenerationAsync("127.0.0.1:2", 500));
        }

        await RestartAsync();
        using IClusterStore again = await OpenAsync();
        Assert.Equal(1003, await again.NextGenerationAsync("127.0.0.1:1", 800));
        Assert.Equal(501, await again.NextGenerationAsync("127.0.0.1:2", 500));
        Assert.Equal(2000, await again.NextGenerationAsync("127.0.0.1:1", 2000));
    }

    [Fact]
    public async Task OfTwoSilos_TheLaterWriterIsRefused()
    {
        await using OpenStore one = await OpenStore.OfAsync(await OpenAsync());
        await using OpenStore other = await OpenStore.OfAsync(await OpenAsync());
        GrainState<Note> first = await one.WriteAsync([1]), second = await other.ReadAsync();
        Assert.Equal([1], second.State!.Text);
        await other.WriteAsync([2], second);
        await Assert.ThrowsAsync<InconsistentStateException>(() => one.WriteAsync([3], first));
        Assert.Equal([2], (await one.ReadAsync()).State!.Text);
    }

    [Fact]
    public async Task AnETagFromBeforeADeletion_IsInvalid()
    {
        await using OpenStore store = await OpenStore.OfAsync(await OpenAsync());
        GrainState<Note> stale = await store.WriteAsync([1]), current = await store.ReadAsync();
        await store.Storage.ClearStateAsync("note", OpenStore.Grain, current);
        await Assert.ThrowsAsync<InconsistentStateException>(() => store.WriteAsync([3], stale));
        await store.WriteAsync([2]);
        await Assert.ThrowsAsync<InconsistentStateException>(() => store.WriteAsync([3], stale));
        await Assert.ThrowsAsync<InconsistentStateException>(
            () => store.Storage.ClearStateAsync("note", OpenStore.Grain, stale));
        Assert.Equal([2], (await store.ReadAsync()).State!.Text);
    }

    // An activation may outlive the store's process, and continues with the tag that it has.
    [Fact]
    public async Task WhatWasConfirmed_IsKeptOverTheStoresDeath_AndSoAreItsETags()
    {
        GrainState<Note> stale, current;
        await using (OpenStore store = await OpenStore.OfAsync(await OpenAsync()))
        {
            stale = await store.WriteAsync([1]);
            current = await store.WriteAsync([2], await store.ReadAsync());
        }

        await RestartAsync();
        await using OpenStore again = await OpenStore.OfAsync(await OpenAsync());
        Assert.Equal([2], (await again.ReadAsync()).State!.Text);
        await Assert.ThrowsAsync<InconsistentStateException>(() => again.WriteAsync([3], stale));
        await again.WriteAsync([4], current);
        Assert.Equal([4], (await again.ReadAsync()).State!.Text);
    }

    internal abstract Task<IClusterStore> OpenAsync();

    /// <summary>Ends the store's process, if it has one, and starts it again.</summary>
    protected virtual Task RestartAsync() => Task.CompletedTask;
}

/// <summary>The storage of grains that a store registers, and the state of one grain.</summary>
internal sealed class OpenStore : ISiloBuilder, ISiloLifecycle, IAsyncDisposable
{
    public static readonly GrainId Grain = StoreFolder.Grain("tenant/a");

    private readonly IClusterStore _store;
    private readonly List<ILifecycleObserver> _observers = [];
    private ServiceProvider _services = null!;

    private OpenStore(IClusterStore store)
    {
        _store = store;
        Services.AddLogging();
        Services.AddSerializer();
        Services.Configure<ClusterOptions>(options => (options.ClusterId, options.ServiceId) = ("atelier", "atelier"));
        Services.AddSingleton<OrleansGrainStorageSerializer>();
        Services.AddSingleton<IGrainStorageSerializer>(
            services => services.GetRequiredService<OrleansGrainStorageSerializer>());
        store.AddTo(this);
    }

    public IServiceCollection Services { get; } = new ServiceCollection();

    public IConfiguration Configuration { get; } = new ConfigurationBuilder().Build();

    public IGrainStorage Storage { get; private set; } = null!;

    int ISiloLifecycle.HighestCompletedStage => 0;

    int ISiloLifecycle.LowestStoppedStage => 0;

    public static async Task<OpenStore> OfAsync(IClusterStore store)
    {
        var opened = new OpenStore(store);
        opened._services = opened.Services.BuildServiceProvider();
        opened.Storage = opened._services.GetRequiredService<IGrainStorage>();
        (opened.Storage as ILifecycleParticipant<ISiloLifecycle>)?.Participate(opened);
        foreach (ILifecycleObserver observer in opened._observers)
        {
            await observer.OnStart(TestContext.Current.CancellationToken);
        }

        return opened;
    }

    public async Task<GrainState<Note>> ReadAsync()
    {
        var state = new GrainState<Note>();
        await Storage.ReadStateAsync("note", Grain, state);
        return state;
    }

    /// <summary>Writes a state as an activation does that has read it, or as a new one.</summary>
    public async Task<GrainState<Note>> WriteAsync(byte[] text, GrainState<Note>? state = null)
    {
        state ??= await ReadAsync();
        state.State = new Note { Text = text };
        await Storage.WriteStateAsync("note", Grain, state);
        return state;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (ILifecycleObserver observer in _observers)
        {
            await observer.OnStop(CancellationToken.None);
        }

        await _services.DisposeAsync();
        _store.Dispose();
    }

    IDisposable ILifecycleObservable.Subscribe(string observerName, int stage, ILifecycleObserver observer)
    {
        _observers.Add(observer);
        return default(CancellationTokenRegistration); // Nobody unsubscribes.
    }
}

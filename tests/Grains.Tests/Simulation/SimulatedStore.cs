// Stores that all processes share. States are bytes of production's serializer with tags as SqliteGrainStorage keeps
// them; blobs are counted by owner, as in FolderBlobStore. Writes that a dead process has sent may still arrive. Under
// faults an operation is refused, is slow, or takes effect without an answer.
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Orleans.Storage;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>The current behavior of a service.</summary>
internal sealed record Weather
{
    /// <summary>Fraction of operations that have no effect.</summary>
    public double Refused { get; init; }

    /// <summary>Fraction of operations that take effect without an answer.</summary>
    public double Unanswered { get; init; }

    /// <summary>Fraction of operations that are slow.</summary>
    public double Slow { get; init; }

    public TimeSpan SlowMax { get; init; } = TimeSpan.FromSeconds(3);
}

/// <summary>The fate of one operation.</summary>
internal readonly record struct Fate(TimeSpan There, bool IsRefused, TimeSpan Back, bool IsUnanswered)
{
    /// <summary>Draws one.</summary>
    public static Fate Draw(Random random, Weather weather)
    {
        TimeSpan Delay() => random.NextDouble() < weather.Slow
            ? weather.SlowMax * random.NextDouble()
            : TimeSpan.FromTicks(random.Next(1, 20_000));
        double chance = random.NextDouble();
        return new Fate(
            Delay(), chance < weather.Refused, Delay(),
            chance >= weather.Refused && chance < weather.Refused + weather.Unanswered);
    }
}

/// <summary>Grain states and blobs of a cluster.</summary>
internal sealed class SimulatedStore(EventLoop loop, Random random)
{
    private const int StateBytesMax = 64 * 1024;

    private readonly Dictionary<BlobName, Dictionary<BlobOwner, DateTimeOffset>> _owners = [];
    private long _tag;

    public Weather StateWeather { get; set; } = new();

    public Weather BlobWeather { get; set; } = new();

    public Dictionary<string, (byte[] Bytes, string Tag)> States { get; } = new(StringComparer.Ordinal);

    public Dictionary<BlobName, byte[]> Blobs { get; } = [];

    /// <summary>Processes that have stored a blob.</summary>
    public Dictionary<BlobName, List<SimulatedSilo>> Writers { get; } = [];

    /// <summary>Called before each write with the key and the bytes before and after it; null for none.</summary>
    public Action<string, byte[]?, byte[]?>? Writing { get; set; }

    /// <summary>Operations that are refused, by key: for targeted tests.</summary>
    public Func<string, bool>? Refusing { get; set; }

    public int Conflicts { get; private set; }

    public Task<(byte[]? Bytes, string? Tag)> ReadAsync(SimulatedSilo silo, string key) =>
        DoAsync<(byte[]?, string?)>(
            silo, StateWeather, key, () => States.TryGetValue(key, out var found) ? found : default);

    /// <summary>Writes a state, or clears it if there are no bytes; returns the new tag.</summary>
    public Task<string?> WriteAsync(SimulatedSilo silo, string key, byte[]? bytes, string? tag)
    {
        Xunit.Assert.True(
            bytes is null || bytes.Length <= StateBytesMax, $"{key} has a state of {bytes?.Length} bytes");
        return DoAsync(silo, StateWeather, key, () =>
        {
            string? there = States.TryGetValue(key, out (byte[] Bytes, string Tag) found) ? found.Tag : null;
            if (there != tag)
            {
                Conflicts++;
                throw new InconsistentStateException($"{key} was written by another.", there ?? "none", tag ?? "none");
            }

            Writing?.Invoke(key, found.Bytes, bytes);
            if (bytes is null)
            {
                States.Remove(key);
                return null;
            }

            States[key] = (bytes, $"{++_tag}");
            return (string?)$"{_tag}";
        });
    }

    /// <summary>The reminders' storage fails as states do.</summary>
    public Task WriteReminderAsync(SimulatedSilo silo, string key) => DoAsync(silo, StateWeather, key, () => true);

    /// <summary>The time by the store's clock.</summary>
    public DateTimeOffset Now => SimulatedCluster.Start + loop.Now;

    public IBlobStore BlobsOf(SimulatedSilo silo) => new BlobsOfSilo(this, silo);

    private StoredBlob? Listed(BlobName name) =>
        _owners.TryGetValue(name, out Dictionary<BlobOwner, DateTimeOffset>? puts)
            ? new StoredBlob(
                name, Blobs[name].Length, puts.Values.Max(),
                [.. puts.Select(put => new BlobHolder($"{put.Key}", put.Key, put.Value))])
            : null;

    private Task<T> DoAsync<T>(SimulatedSilo silo, Weather weather, string key, Func<T> effect)
    {
        var answer = new TaskCompletionSource<T>();
        Fate fate = Fate.Draw(random, weather);
        bool dropped = random.Next(2) == 0;
        Exception Unavailable(string what) => key.Contains("/blob/", StringComparison.Ordinal)
            ? new IOException($"{what}: {key}")
            : new StoreUnavailableException($"{what}: {key}");
        loop.After(fate.There, () =>
        {
            // Writes that a process had not sent when it died are lost.
            if (!silo.IsAlive && dropped)
            {
                return;
            }

            try
            {
                T done = fate.IsRefused || Refusing?.Invoke(key) == true ? throw Unavailable("Refused") : effect();
                loop.After(fate.Back, () => _ = fate.IsUnanswered
                    ? answer.TrySetException(Unavailable("No answer"))
                    : answer.TrySetResult(done));
            }
            catch (Exception error) when (error is OrleansException or IOException)
            {
                loop.After(fate.Back, () => answer.TrySetException(error));
            }
        });
        return answer.Task;
    }

    private sealed class BlobsOfSilo(SimulatedStore store, SimulatedSilo silo) : IBlobStore
    {
        public async Task PutAsync(
            BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation)
        {
            byte[] bytes = new byte[length];
            await content.ReadExactlyAsync(bytes, cancellation);
            await DoAsync(name, () =>
            {
                Xunit.Assert.Equal(name.Sha256, Convert.ToHexStringLower(SHA256.HashData(bytes)));
                Of(store._owners, name)[owner] = store.Now;
                Of(store.Writers, name).Add(silo);
                store.Blobs[name] = bytes;
                return true;
            });
        }

        public Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
        {
            Xunit.Assert.True(range.IsWhole, "No grain reads a part of a blob.");
            return DoAsync(name, () => store.Blobs.GetValueOrDefault(name) is { } bytes
                ? new BlobContent(bytes.Length, new MemoryStream(bytes, writable: false))
                : null);
        }

        public Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation) =>
            ReleaseOlderAsync(name, owner, DateTimeOffset.MaxValue, cancellation);

        public async IAsyncEnumerable<StoredBlob> ListAsync([EnumeratorCancellation] CancellationToken cancellation)
        {
            foreach (BlobName name in store._owners.Keys.ToArray())
            {
                if (await DoAsync(name, () => store.Listed(name)) is { } blob)
                {
                    yield return blob;
                }
            }
        }

        public Task<bool> ReleaseOlderAsync(
            BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation) =>
            DoAsync(name, () =>
            {
                Dictionary<BlobOwner, DateTimeOffset> owners = store._owners.GetValueOrDefault(name, []);
                if (owners.TryGetValue(owner!.Value, out DateTimeOffset at) && at >= before)
                {
                    return false;
                }

                if (owners.Remove(owner.Value) && owners.Count == 0)
                {
                    store._owners.Remove(name);
                    store.Blobs.Remove(name);
                }

                return true;
            });

        private Task<T> DoAsync<T>(BlobName name, Func<T> effect) =>
            store.DoAsync(silo, store.BlobWeather, $"/blob/{name}", effect);

        private static T Of<T>(Dictionary<BlobName, T> map, BlobName name)
            where T : new()
        {
            if (!map.TryGetValue(name, out T? value))
            {
                map.Add(name, value = new T());
            }

            return value;
        }
    }
}

/// <summary>A grain's state in the store, as an activation holds it.</summary>
internal sealed class SimulatedState<T>(SimulatedStore store, SimulatedSilo silo, string key)
    : IPersistentState<T>, ISimulatedState
    where T : new()
{
    public T State { get; set; } = new();

    public string Etag { get; private set; } = null!;

    public bool RecordExists { get; private set; }

    public async Task ReadStateAsync()
    {
        (byte[]? bytes, string? tag) = await store.ReadAsync(silo, key);
        (State, Etag, RecordExists) = (bytes is null ? new T() : Wire.Read<T>(bytes), tag!, bytes is not null);
    }

    public async Task WriteStateAsync() =>
        (Etag, RecordExists) = ((await store.WriteAsync(silo, key, Wire.Write(State), Etag))!, true);

    public async Task ClearStateAsync()
    {
        await store.WriteAsync(silo, key, null, Etag);
        (State, Etag, RecordExists) = (new T(), null!, false);
    }

    public Task ReadStateAsync(CancellationToken cancellationToken) => ReadStateAsync();

    public Task WriteStateAsync(CancellationToken cancellationToken) => WriteStateAsync();

    public Task ClearStateAsync(CancellationToken cancellationToken) => ClearStateAsync();
}

/// <summary>Reads the state before the activation's first call.</summary>
internal interface ISimulatedState
{
    Task ReadStateAsync();
}

// Grain storage that outlives silos and can be shared by two clusters, with ETags like real stores. It counts writes
// and bytes, and refuses states that are too large.
using System.Collections.Concurrent;
using Orleans.Storage;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

internal sealed class SharedStore
{
    public ConcurrentDictionary<string, (BinaryData Bytes, int Tag)> States { get; } = new(StringComparer.Ordinal);

    public int Writes;

    public long Bytes;

    /// <summary>Whether writing or clearing a state fails, by its key.</summary>
    public Func<string, bool>? Failing { get; set; }

    public void Check(string key)
    {
        if (Failing?.Invoke(key) == true)
        {
            throw new IOException($"{key}: the store is unavailable.");
        }
    }
}

internal sealed class SharedStorage(SharedStore store, IGrainStorageSerializer serializer) : IGrainStorage
{
    private const int StateBytesMax = 64 * 1024;

    public Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        bool found = store.States.TryGetValue($"{grainId}/{stateName}", out (BinaryData Bytes, int Tag) one);
        try
        {
            grainState.State = found ? serializer.Deserialize<T>(one.Bytes) : Activator.CreateInstance<T>();
        }
        catch (Exception error)
        {
            throw new InvalidOperationException($"{grainId}: {error.Message} in {one.Bytes}", error);
        }

        (grainState.RecordExists, grainState.ETag) = (found, found ? $"{one.Tag}" : null);
        return Task.CompletedTask;
    }

    public Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        BinaryData bytes = serializer.Serialize(grainState.State);
        Assert.True(
            bytes.ToMemory().Length <= StateBytesMax, $"{grainId} has a state of {bytes.ToMemory().Length} bytes");
        Interlocked.Increment(ref store.Writes);
        Interlocked.Add(ref store.Bytes, bytes.ToMemory().Length);
        string key = $"{grainId}/{stateName}";
        store.Check(key);
        lock (store)
        {
            bool found = store.States.TryGetValue(key, out (BinaryData Bytes, int Tag) one);
            string? tag = found ? $"{one.Tag}" : null;
            if (tag != grainState.ETag)
            {
                throw new InconsistentStateException(
                    $"{key} was written by another.", tag ?? "", grainState.ETag ?? "");
            }

            store.States[key] = (bytes, one.Tag + 1);
            (grainState.RecordExists, grainState.ETag) = (true, $"{one.Tag + 1}");
        }

        return Task.CompletedTask;
    }

    public Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        store.Check($"{grainId}/{stateName}");
        store.States.TryRemove($"{grainId}/{stateName}", out _);
        (grainState.State, grainState.RecordExists, grainState.ETag) = (Activator.CreateInstance<T>(), false, null);
        return Task.CompletedTask;
    }
}

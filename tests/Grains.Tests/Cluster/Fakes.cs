// Ports without devices: networks that are chains of hashes, and a store in memory that counts the owners of each blob.
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;

namespace Atelier.Grains.Tests.Cluster;

/// <summary>Blobs of a whole cluster.</summary>
internal sealed class FakeBlobStore : IBlobStore
{
    private readonly Lock _lock = new();
    private readonly Dictionary<BlobName, byte[]> _blobs = [];
    private readonly Dictionary<(BlobName Name, BlobOwner Owner), DateTimeOffset> _puts = [];
    private int _refusals;

    public int Count => Locked(() => _blobs.Count);

    /// <summary>Number of writes still to be refused, as by a full disk.</summary>
    public int Refusals
    {
        get => _refusals;
        set => _refusals = value;
    }

    /// <summary>Called before a write, which waits for it.</summary>
    public Func<BlobName, Task> Putting { get; set; } = _ => Task.CompletedTask;

    /// <summary>Whether releases are refused, as by an unavailable store.</summary>
    public volatile bool IsAway;

    /// <summary>The time of puts.</summary>
    public TimeProvider Clock { get; set; } = TimeProvider.System;

    public byte[] this[BlobName name] => Locked(() => _blobs[name]);

    public IEnumerable<BlobName> Names => Locked(() => _blobs.Keys.ToArray());

    public bool Has(BlobName name) => Locked(() => _blobs.ContainsKey(name));

    public async Task PutAsync(
        BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation)
    {
        if (Interlocked.Decrement(ref _refusals) >= 0)
        {
            throw new IOException("No space left on device.");
        }

        await Putting(name);
        byte[] bytes = new byte[length];
        await content.ReadExactlyAsync(bytes, cancellation);
        Locked(() =>
        {
            _puts[(name, owner)] = Clock.GetUtcNow();
            return _blobs[name] = bytes;
        });
    }

    public Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
    {
        byte[]? bytes = Locked(() => _blobs.GetValueOrDefault(name));
        return Task.FromResult(bytes is null ? null : new BlobContent(bytes.Length, new MemoryStream(
            bytes, (int)Math.Min(range.Offset, bytes.Length), (int)range.LengthIn(bytes.Length), writable: false)));
    }

    public Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation) =>
        ReleaseOlderAsync(name, owner, DateTimeOffset.MaxValue, cancellation);

    public async IAsyncEnumerable<StoredBlob> ListAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        StoredBlob[] all = Locked(() => _puts.GroupBy(put => put.Key.Name).Select(puts => new StoredBlob(
            puts.Key, _blobs[puts.Key].Length, puts.Max(put => put.Value),
            [.. puts.Select(put => new BlobHolder($"{put.Key.Owner}", put.Key.Owner, put.Value))])).ToArray());
        foreach (StoredBlob one in all)
        {
            await Task.Yield();
            yield return one;
        }
    }

    public Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation)
    {
        if (IsAway)
        {
            throw new IOException("The blob store is unavailable.");
        }

        return Task.FromResult(Locked(() =>
        {
            (BlobName, BlobOwner) key = (name, owner!.Value);
            if (_puts.TryGetValue(key, out DateTimeOffset at) && at >= before)
            {
                return false;
            }

            if (_puts.Remove(key) && !_puts.Keys.Any(put => put.Name == name))
            {
                _blobs.Remove(name);
            }

            return true;
        }));
    }

    private T Locked<T>(Func<T> work)
    {
        lock (_lock)
        {
            return work();
        }
    }
}

/// <summary>A device whose networks are hashes. A dead one never answers, like a killed process.</summary>
internal sealed class FakeDevice(
    string name, int slots, string kind = "cpu", WorkRoles roles = WorkRoles.All, int models = 1,
    ModelCard[]? cards = null, int memory = 150) : IDeviceHost
{
    public static readonly ModelDigest Model = ModelOf(0);
    private readonly HashSet<ModelDigest> _loaded = [];
    private volatile bool _dead;

    /// <summary>Duration of an evaluation.</summary>
    public TimeSpan Pace { get; set; } = TimeSpan.FromMilliseconds(2);

    /// <summary>Called before each evaluation with the pictures that take part; it may throw, or kill.</summary>
    public Func<IReadOnlyList<FakeDenoising>, Task>? Evaluating { get; set; }

    /// <summary>Called by a probe of the device; it may throw.</summary>
    public Action? Probing { get; set; }

    /// <summary>Called before each decoding.</summary>
    public Func<Task>? Decoding { get; set; }

    public int Evaluations { get; private set; }

    public int Largest { get; private set; }

    public DeviceDescription Description { get; private set; } = new()
    {
        Device = name, DeviceKind = kind, Roles = roles, Slots = slots, Rows = slots, MemoryBytes = memory,
        Models = cards ?? [.. Enumerable.Range(0, models).Select(Card)],
    };

    /// <summary>Duration of a load.</summary>
    public TimeSpan LoadTime { get; set; }

    /// <summary>Number of loads so far.</summary>
    public int Loads { get; private set; }

    /// <summary>Amount of work by kind of network.</summary>
    public Dictionary<WorkKind, int> Done { get; } =
        new() { [WorkKind.Encode] = 0, [WorkKind.Denoise] = 0, [WorkKind.Decode] = 0 };

    public static ModelDigest ModelOf(int number) => new(new string((char)('a' + number), 64));

    public static ModelCard Card(int number) => new()
    {
        Digest = ModelOf(number), Name = $"fake{number}", Aliases = ["other"], IsDefault = number == 0,
        Sizes = [new PictureSize(64, 64)], Steps = 10, Guidance = 1, EncodeCost = 1, EvaluationCost = 1, DecodeCost = 2,
        MemoryBytes = 100,
    };

    public void Die() => _dead = true;

    /// <summary>Replaces the models that the device can load.</summary>
    public void Offer(params ModelCard[] models) => Description = Description with { Models = models };

    /// <summary>Whether a model is in memory.</summary>
    public bool Has(ModelDigest model)
    {
        lock (_loaded)
        {
            return _loaded.Contains(model);
        }
    }

    /// <summary>A model whose files are damaged.</summary>
    public ModelDigest? Damaged { get; set; }

    public async Task LoadAsync(ModelDigest model, CancellationToken cancellation)
    {
        await Task.Delay(LoadTime, cancellation);
        await WorkAsync(() =>
        {
            if (model == Damaged)
            {
                throw new DeviceException(GenerationError.InvalidRequest, "The model's files are damaged.");
            }

            Loads += _loaded.Add(model) ? 1 : 0;
            long bytes = Description.Models.Where(card => _loaded.Contains(card.Digest)).Sum(card => card.MemoryBytes);
            return bytes <= memory ? 0 : throw new InvalidOperationException($"The models take {bytes} of {memory}.");
        });
    }

    public Task EvictAsync(ModelDigest model, CancellationToken cancellation) => WorkAsync(() => _loaded.Remove(model));

    public Task ProbeAsync(CancellationToken cancellation) => WorkAsync(() =>
    {
        Probing?.Invoke();
        return 0;
    });

    public Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation) =>
        WorkAsync(() => Use(spec, WorkKind.Encode, Bytes($"caption {spec.Prompt}")));

    public Task<IDenoising> BeginAsync(
        GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation) =>
        WorkAsync<IDenoising>(() => Use(spec, WorkKind.Denoise, new FakeDenoising(spec, kind, snapshot)));

    public async Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation)
    {
        FakeDenoising[] pictures = [.. batch.Cast<FakeDenoising>()];
        await WorkAsync(() => 0);
        await Task.Delay(Pace, cancellation);
        await (Evaluating?.Invoke(pictures) ?? Task.CompletedTask);
        await WorkAsync(() => 0);
        (Evaluations, Largest) = (Evaluations + 1, Math.Max(Largest, batch.Count));
        Array.ForEach(pictures, picture => picture.Evaluate());
    }

    public Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation) =>
        WorkAsync(() => Bytes("preview " + Encoding.UTF8.GetString(picture.Snapshot())));

    public async Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation)
    {
        await (Decoding?.Invoke() ?? Task.CompletedTask);
        return await WorkAsync(() => Use(spec, WorkKind.Decode, Bytes("picture " + Encoding.UTF8.GetString(latent))));
    }

    /// <summary>The picture of an undisturbed run.</summary>
    public static byte[] Undisturbed(GenerationSpec spec, string kind = "cpu")
    {
        var picture = new FakeDenoising(spec, kind, null);
        while (!picture.IsDone)
        {
            picture.Evaluate();
        }

        return Bytes("picture " + Encoding.UTF8.GetString(picture.Latent()));
    }

    internal static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    private T Use<T>(GenerationSpec spec, WorkKind kind, T answer)
    {
        Done[kind]++;
        return _loaded.Contains(spec.Model)
            ? answer
            : throw new InvalidOperationException($"{spec.Model} is not loaded.");
    }

    private async Task<T> WorkAsync<T>(Func<T> work)
    {
        if (_dead)
        {
            await Task.Delay(Timeout.Infinite);
        }

        // Overlapping calls are executed one after the other.
        lock (_loaded)
        {
            return work();
        }
    }
}

/// <summary>A picture whose state is a hash, with two evaluations per step and one in the last.</summary>
internal sealed class FakeDenoising : IDenoising
{
    private string _hash;
    private bool _predicted;

    public FakeDenoising(GenerationSpec spec, string kind, byte[]? snapshot)
    {
        Spec = spec;
        string[] parts = snapshot is null
            ? ["0", $"{kind} {spec.Digest()}"]
            : Encoding.UTF8.GetString(snapshot).Split('|');
        (Step, _hash) = (int.Parse(parts[0], System.Globalization.CultureInfo.InvariantCulture), parts[1]);
    }

    public GenerationSpec Spec { get; }

    public string BatchKey => $"{Spec.Model} {Spec.Width}x{Spec.Height}";

    public int Rows => 1;

    public int Step { get; private set; }

    public bool IsBetweenSteps => !_predicted;

    public bool IsDone => Step == Spec.Steps;

    public byte[] Snapshot() => FakeDevice.Bytes($"{Step}|{_hash}");

    public byte[] Latent() => Snapshot();

    public void Dispose()
    {
    }

    public void Evaluate()
    {
        _hash = Convert.ToHexStringLower(SHA256.HashData(FakeDevice.Bytes($"{_hash} {Step} {_predicted}")));
        _predicted = !_predicted && Step < Spec.Steps - 1;
        Step += _predicted ? 0 : 1;
    }
}

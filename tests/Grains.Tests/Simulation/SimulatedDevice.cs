// A device of hashes in simulated time: a picture's bytes show which steps made it, in which order and on which kind of
// device.
using System.Text;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;

namespace Atelier.Grains.Tests.Simulation;

internal sealed class SimulatedDevice(string kind, int slots = 2, int models = 1) : IDeviceHost
{
    private readonly HashSet<ModelDigest> _loaded = [];
    private SimulatedSilo _silo = null!;

    /// <summary>Duration of an evaluation.</summary>
    public TimeSpan Pace { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Called before each evaluation with the pictures that take part; it may throw, or kill.</summary>
    public Action<SimulatedSilo, IReadOnlyList<FakeDenoising>>? Evaluating { get; init; }

    public string Kind => kind;

    public DeviceDescription Description { get; } = new()
    {
        Device = "d", DeviceKind = kind, Roles = WorkRoles.All, Slots = slots, Rows = slots, MemoryBytes = 150,
        Models = [.. Enumerable.Range(0, models).Select(FakeDevice.Card)],
    };

    public void Attach(SimulatedSilo silo) => _silo = silo;

    public Task LoadAsync(ModelDigest model, CancellationToken cancellation) => WorkAsync(() => _loaded.Add(model));

    public Task EvictAsync(ModelDigest model, CancellationToken cancellation) => WorkAsync(() => _loaded.Remove(model));

    public Task ProbeAsync(CancellationToken cancellation) => WorkAsync(() => true);

    public Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation) =>
        WorkAsync(() => FakeDevice.Bytes($"caption {spec.Prompt}"));

    public Task<IDenoising> BeginAsync(
        GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation) =>
        WorkAsync<IDenoising>(() => new FakeDenoising(spec, kind, snapshot));

    public async Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation)
    {
        FakeDenoising[] pictures = [.. batch.Cast<FakeDenoising>()];
        await Task.Delay(Pace, _silo.Clock, cancellation);
        Evaluating?.Invoke(_silo, pictures);
        if (!_silo.IsAlive)
        {
            await new TaskCompletionSource().Task;
        }

        Array.ForEach(pictures, picture => picture.Evaluate());
    }

    public Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation) =>
        WorkAsync(() => FakeDevice.Bytes("preview " + Encoding.UTF8.GetString(picture.Snapshot())));

    public Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation) =>
        WorkAsync(() => FakeDevice.Bytes("picture " + Encoding.UTF8.GetString(latent)));

    private async Task<T> WorkAsync<T>(Func<T> work)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(20), _silo.Clock);
        return work();
    }
}

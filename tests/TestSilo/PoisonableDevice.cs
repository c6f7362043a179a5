// A device that can be slowed down, that one prompt kills, and that fails at another.
using System.Collections.Concurrent;
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;

namespace Atelier.TestSilo;

/// <summary>A device that dies of a prompt with "poison", and fails at one with "faulty".</summary>
internal sealed class PoisonableDevice(IDeviceHost device, TimeSpan delay, TimeProvider clock) : IDeviceHost
{
    private readonly ConcurrentDictionary<IDenoising, bool> _poisonous = new(ReferenceEqualityComparer.Instance);

    public DeviceDescription Description => device.Description;

    public Task LoadAsync(ModelDigest model, CancellationToken cancellation) => device.LoadAsync(model, cancellation);

    public Task EvictAsync(ModelDigest model, CancellationToken cancellation) => device.EvictAsync(model, cancellation);

    public Task ProbeAsync(CancellationToken cancellation) => device.ProbeAsync(cancellation);

    public Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation) =>
        device.EncodeAsync(spec, cancellation);

    public Task<EncodedPrompts?> CountAsync(GenerationSpec spec, CancellationToken cancellation) =>
        device.CountAsync(spec, cancellation);

    public async Task<IDenoising> BeginAsync(
        GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation)
    {
        if (spec.Prompt.Contains("faulty", StringComparison.Ordinal))
        {
            throw new DeviceException(GenerationError.KernelFailed, "A kernel failed.");
        }

        IDenoising picture = await device.BeginAsync(spec, caption, snapshot, cancellation);
        if (spec.Prompt.Contains("poison", StringComparison.Ordinal))
        {
            _poisonous[picture] = true;
        }

        return picture;
    }

    public async Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation)
    {
        if (batch.Any(_poisonous.ContainsKey))
        {
            Process.GetCurrentProcess().Kill();
        }

        if (delay > TimeSpan.Zero)
        {
            await Task.Delay(delay, clock, cancellation);
        }

        await device.EvaluateAsync(batch, cancellation);
    }

    public Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation) =>
        device.PreviewAsync(spec, picture, cancellation);

    public Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation) =>
        device.DecodeAsync(spec, latent, cancellation);
}

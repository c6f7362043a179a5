// A silo as it ships, but for its device: that holds a tiny model which needs no file, takes its time if it is told to, and
// kills the process at a prompt that says so.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Grains.Batching;
using Atelier.Grains.Ports;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting;
using Atelier.Silo.Tests.Devices;
using Microsoft.Extensions.DependencyInjection.Extensions;

return await SiloHost.RunAsync(args, services =>
{
    if (services.Any(service => service.ServiceType == typeof(IDeviceHost)))
    {
        services.RemoveAll<IDeviceHost>();
        services.AddSingleton<IDeviceHost>(provider => new PoisonableDevice(
            new TorchDeviceHost(
                [TinyModels.First with { Card = TinyModels.First.Card with { IsDefault = true, Aliases = ["gpt-image-1", "dall-e-3"] } }],
                provider.GetRequiredService<SiloSettings>().Device, provider.GetRequiredService<TimeProvider>()),
            TimeSpan.FromMilliseconds(provider.GetRequiredService<IConfiguration>().GetValue("Test:EvaluationMilliseconds", 0.0)),
            provider.GetRequiredService<TimeProvider>()));
    }
});

/// <summary>A device that dies of one prompt.</summary>
internal sealed class PoisonableDevice(IDeviceHost device, TimeSpan delay, TimeProvider clock) : IDeviceHost
{
    private readonly HashSet<IDenoising> _poisonous = new(ReferenceEqualityComparer.Instance);

    public DeviceDescription Description => device.Description;

    public Task LoadAsync(ModelDigest model, CancellationToken cancellation) => device.LoadAsync(model, cancellation);

    public Task EvictAsync(ModelDigest model, CancellationToken cancellation) => device.EvictAsync(model, cancellation);

    public Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation) => device.EncodeAsync(spec, cancellation);

    public async Task<IDenoising> BeginAsync(GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation)
    {
        IDenoising picture = await device.BeginAsync(spec, caption, snapshot, cancellation);
        if (spec.Prompt.Contains("poison", StringComparison.Ordinal))
        {
            _poisonous.Add(picture);
        }

        return picture;
    }

    public async Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation)
    {
        if (batch.Any(_poisonous.Contains))
        {
            Process.GetCurrentProcess().Kill();
        }

        if (delay > TimeSpan.Zero)
        {
            await Task.Delay(delay, clock, cancellation);
        }

        await ((IBatchEvaluator<IDenoising>)device).EvaluateAsync(batch, cancellation);
    }

    public Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation) =>
        device.PreviewAsync(spec, picture, cancellation);

    public Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation) =>
        device.DecodeAsync(spec, latent, cancellation);
}

// A production silo except for its device: that one holds a tiny model without files, can be slowed down, kills the
// process at a certain prompt, and fails at another.
using Atelier.Grains.Ports;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting;
using Atelier.Silo.Tests.Devices;
using Atelier.TestSilo;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

return await SiloHost.RunAsync(args, services =>
{
    if (services.Any(service => service.ServiceType == typeof(IDeviceHost)))
    {
        services.RemoveAll<IDeviceHost>();
        var card = TinyModels.First.Card with { IsDefault = true, Aliases = ["gpt-image-1", "dall-e-3"] };
        services.AddSingleton<IDeviceHost>(provider => new PoisonableDevice(
            new TorchDeviceHost(
                [TinyModels.First with { Card = card }],
                provider.GetRequiredService<IOptions<TorchDeviceOptions>>().Value,
                provider.GetRequiredService<DeviceLane>(), provider.GetRequiredService<DeviceInstruments>()),
            TimeSpan.FromMilliseconds(
                provider.GetRequiredService<IConfiguration>().GetValue("Test:EvaluationMilliseconds", 0.0)),
            provider.GetRequiredService<TimeProvider>()));
    }
});

// Goal: a silo as it ships has its health checks, and passes traces on exactly if they are exported. Method: the
// services that the program registers, taken before it starts.
using Atelier.Silo.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class SiloHostTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("silo-host").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("control", new[] { "clock", "member", "store", "store-live" })]
    [InlineData("control,inference", new[] { "clock", "device", "member", "store", "store-live" })]
    public async Task ASilo_IsReady_IfAllOfThisIs_AndAlive_IfLittleOfItIs(string roles, string[] checks)
    {
        await using ServiceProvider services = (await ServicesAsync($"--Silo:Roles={roles}")).BuildServiceProvider();
        HealthCheckRegistration[] registered =
        [
            .. services.GetRequiredService<IOptions<HealthCheckServiceOptions>>().Value.Registrations
                .OrderBy(check => check.Name, StringComparer.Ordinal),
        ];
        Assert.Equal(checks, registered.Select(check => check.Name));
        Assert.All(registered, check => Assert.Equal(HealthStatus.Unhealthy, check.FailureStatus));
        Assert.Equal(
            ["clock", "store-live"],
            registered.Where(check => check.Tags.Contains("live")).Select(check => check.Name));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Traces_PassThroughGrains_IfTheyAreExported(bool isExported)
    {
        IServiceCollection services = await ServicesAsync(
            "--Silo:Roles=control", isExported ? "--OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1" : "--Silo:Name=a");
        Assert.All(
            [typeof(IIncomingGrainCallFilter), typeof(IOutgoingGrainCallFilter)],
            filter => Assert.Equal(
                isExported,
                services.Any(service => service.ServiceType == filter
                    && $"{service.ImplementationType}".Contains("ActivityPropagation", StringComparison.Ordinal))));
    }

    [Fact]
    public async Task TheHttpApi_HasItsLimits()
    {
        await using ServiceProvider services =
            (await ServicesAsync("--Silo:Roles=control", "--Silo:HttpConnectionsMax=7")).BuildServiceProvider();
        KestrelServerLimits limits = services.GetRequiredService<IOptions<KestrelServerOptions>>().Value.Limits;
        Assert.Equal(
            (7, TimeSpan.FromSeconds(10), 5.0),
            (limits.MaxConcurrentConnections, limits.RequestHeadersTimeout,
                limits.MinRequestBodyDataRate!.GracePeriod.TotalSeconds));
    }

    private async Task<IServiceCollection> ServicesAsync(params string[] settings)
    {
        IServiceCollection? registered = null;
        await Assert.ThrowsAsync<StopException>(() => SiloHost.RunAsync(
            [
                $"--Cluster:Secret={Convert.ToBase64String(new byte[32])}", "--Models:Folders:0=model",
                $"--Store:Folder={_folder}/store", $"--Blobs:Folder={_folder}/blobs", .. settings,
            ],
            services =>
            {
                registered = services;
                throw new StopException();
            }));
        return registered!;
    }

    private sealed class StopException : Exception;
}

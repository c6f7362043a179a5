// Goal: a silo is ready from the time it has joined until it begins to leave. Method: every status of a member.
using System.Reflection;
using Atelier.Silo.Hosting;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class MemberCheckTests
{
    public static TheoryData<SiloStatus> Statuses => [.. Enum.GetValues<SiloStatus>()];

    [Theory]
    [MemberData(nameof(Statuses))]
    public async Task ASilo_IsReady_WhileItIsActive(SiloStatus status)
    {
        HealthCheckResult result = await CheckAsync(status, isStopping: false);
        Assert.Equal(
            status == SiloStatus.Active ? HealthStatus.Healthy : HealthStatus.Unhealthy, result.Status);
        Assert.True(
            status == SiloStatus.Active || result.Description!.Contains($"{status}", StringComparison.Ordinal));
    }

    // Orleans leaves only after the web server's requests have ended.
    [Fact]
    public async Task AnActiveSiloThatShutsDown_IsNotReady() =>
        Assert.Equal(HealthStatus.Unhealthy, (await CheckAsync(SiloStatus.Active, isStopping: true)).Status);

    private static Task<HealthCheckResult> CheckAsync(SiloStatus status, bool isStopping)
    {
        var silos = DispatchProxy.Create<ISiloStatusOracle, StatusProxy>();
        ((StatusProxy)(object)silos).Status = status;
        return new MemberCheck(silos, new Lifetime(isStopping)).CheckHealthAsync(
            new HealthCheckContext(), TestContext.Current.CancellationToken);
    }

    /// <summary>Knows only this silo's status.</summary>
    public class StatusProxy : DispatchProxy
    {
        public SiloStatus Status { get; set; }

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) =>
            targetMethod!.Name == $"get_{nameof(ISiloStatusOracle.CurrentStatus)}"
                ? Status : throw new NotSupportedException(targetMethod.Name);
    }

    private sealed class Lifetime(bool isStopping) : IHostApplicationLifetime
    {
        public CancellationToken ApplicationStarted => CancellationToken.None;

        public CancellationToken ApplicationStopping => new(isStopping);

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public void StopApplication() => throw new NotSupportedException();
    }
}

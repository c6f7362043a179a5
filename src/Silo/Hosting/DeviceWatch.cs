// Health of the devices. Each device is probed once before any other work, then every few seconds. A probe waits for
// the device's lane like other work, so a busy device does not count as broken; work that takes too long ends the
// process anyway.
using System.Collections.Concurrent;
using Atelier.Grains.Ports;
using Atelier.Silo.Devices;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Atelier.Silo.Hosting;

/// <summary>Checks whether the silo's devices work.</summary>
/// <param name="devices">The devices that draw pictures.</param>
/// <param name="trainers">The devices that are lent to training; one that also draws pictures is probed once.</param>
/// <param name="clock">The time between probes.</param>
/// <param name="logger">The log.</param>
internal sealed class DeviceWatch(
    IEnumerable<IDeviceHost> devices, IEnumerable<ITrainingWork> trainers, TimeProvider clock,
    ILogger<DeviceWatch> logger)
    : BackgroundService, IHealthCheck
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(5);

    private readonly Probed[] _devices =
    [
        .. devices.Select(device => new Probed(device.Description.Device, device.ProbeAsync))
            .Concat(trainers.Select(trainer => new Probed(trainer.Device, trainer.ProbeAsync)))
            .DistinctBy(device => device.Name, StringComparer.Ordinal),
    ];

    private Task[] _first = [];

    private sealed record Probed(string Name, Func<CancellationToken, Task> ProbeAsync);

    // The fault that the last probe of each device found; null if the probe succeeded.
    private readonly ConcurrentDictionary<string, string?> _faults = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(_devices.Select(Fault).FirstOrDefault(fault => fault is not null) is { } fault
            ? HealthCheckResult.Unhealthy(fault)
            : HealthCheckResult.Healthy());

    /// <inheritdoc/>
    /// <remarks>The first probes start here, before workers load their models.</remarks>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        _first = [.. _devices.Select(device => device.ProbeAsync(CancellationToken.None))];
        return base.StartAsync(cancellationToken);
    }

    /// <inheritdoc/>
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(_devices.Select((device, i) => WatchAsync(device, _first[i], stoppingToken)));

    private async Task WatchAsync(Probed device, Task probe, CancellationToken stopping)
    {
        try
        {
            while (true)
            {
                await AwaitAsync(device.Name, probe, stopping);
                await Task.Delay(s_period, clock, stopping);
                probe = device.ProbeAsync(CancellationToken.None);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The silo is shutting down.
        }
    }

    private async Task AwaitAsync(string device, Task probe, CancellationToken stopping)
    {
        string? fault = null;
        try
        {
            await probe.WaitAsync(stopping);
        }
        catch (DeviceBusyException)
        {
            // Too many callers wait for the lane; the last verdict stays valid.
            return;
        }
        catch (Exception error) when (!stopping.IsCancellationRequested)
        {
            fault = $"The device {device} does not work: {error.Message}";
            if (!_faults.TryGetValue(device, out string? before) || before is null)
            {
                logger.DeviceFails(device, error.Message);
            }
        }

        if (fault is null && (!_faults.TryGetValue(device, out string? last) || last is not null))
        {
            logger.DeviceWorks(device);
        }

        _faults[device] = fault;
    }

    private string? Fault(Probed device) =>
        _faults.TryGetValue(device.Name, out string? fault)
            ? fault
            : $"The device {device.Name} has not passed a probe yet.";
}

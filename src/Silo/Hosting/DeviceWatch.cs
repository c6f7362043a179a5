// Has each device show that it works: once before any other work, and every few seconds. A probe waits its turn behind
// the work of the device, so a device that is busy is not taken for one that is broken; what takes too long ends the
// process by itself.
using System.Collections.Concurrent;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Atelier.Silo.Hosting;

/// <summary>Whether the silo's devices work.</summary>
internal sealed class DeviceWatch(IEnumerable<IDeviceHost> devices, TimeProvider clock, ILogger<DeviceWatch> logger)
    : BackgroundService, IHealthCheck
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(5);

    private readonly IDeviceHost[] _devices = [.. devices];
    private Task[] _first = [];

    // What the last probe of each device found: what is wrong, or null.
    private readonly ConcurrentDictionary<string, string?> _faults = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(_devices.Select(Fault).FirstOrDefault(fault => fault is not null) is { } fault
            ? HealthCheckResult.Unhealthy(fault)
            : HealthCheckResult.Healthy());

    /// <inheritdoc/>
    /// <remarks>The first probes are begun here, ahead of the workers' loads.</remarks>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        _first = [.. _devices.Select(device => device.ProbeAsync(CancellationToken.None))];
        return base.StartAsync(cancellationToken);
    }

    /// <inheritdoc/>
    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(_devices.Select((device, i) => WatchAsync(device, _first[i], stoppingToken)));

    private async Task WatchAsync(IDeviceHost device, Task probe, CancellationToken stopping)
    {
        string name = device.Description.Device;
        try
        {
            while (true)
            {
                await AwaitAsync(name, probe, stopping);
                await Task.Delay(s_period, clock, stopping);
                probe = device.ProbeAsync(CancellationToken.None);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The silo stops.
        }
    }

    private async Task AwaitAsync(string device, Task probe, CancellationToken stopping)
    {
        string? fault = null;
        try
        {
            await probe.WaitAsync(stopping);
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

    private string? Fault(IDeviceHost device) =>
        _faults.TryGetValue(device.Description.Device, out string? fault)
            ? fault
            : $"The device {device.Description.Device} has not shown yet that it works.";
}

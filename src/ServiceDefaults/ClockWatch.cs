// Detection of steps of the wall clock. This project's own code tolerates them, but Orleans schedules the collection of
// activations, its retries and its client's choice of gateways by the wall clock: after a step backward, new
// activations fail, and retries wait until the clock reaches the old time again. So a process whose clock steps by more
// than a few seconds hands its work back, exits and is restarted by its supervisor, as when its node is shut down.
using System.Diagnostics;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Atelier.ServiceDefaults;

/// <summary>Shuts the process down gracefully when the wall clock steps.</summary>
public sealed class ClockWatch(SteadyClock clock, IHostApplicationLifetime lifetime, ILogger<ClockWatch> logger)
    : BackgroundService, IHealthCheck
{
    // Corrections of a synchronized clock are smaller.
    private static readonly TimeSpan s_stepMax = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(200);

    // Time limit of a graceful shutdown, which uses timers that the step may have broken.
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(6);

    private int _ending;

    /// <summary>Gets whether the clock has stepped; if so, the process is about to exit.</summary>
    public bool IsStepped => clock.WallStep.Duration() > s_stepMax;

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(IsStepped
            ? HealthCheckResult.Unhealthy("The system clock was changed; this process exits and will be restarted.")
            : HealthCheckResult.Healthy());

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(s_period, clock);
        while (!IsStepped)
        {
            try
            {
                await timer.WaitForNextTickAsync(stoppingToken);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }

        End();
    }

    private void End()
    {
        if (Interlocked.Exchange(ref _ending, 1) == 1)
        {
            return;
        }

        logger.ClockSet(clock.WallStep.TotalSeconds);
        new Thread(() =>
        {
            lifetime.StopApplication();
            if (!lifetime.ApplicationStopped.WaitHandle.WaitOne(s_grace))
            {
                Process.GetCurrentProcess().Kill();
            }
        })
        { IsBackground = true, Name = "clock" }.Start();
    }
}

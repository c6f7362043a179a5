// Watches for the wall clock being set. This project's own code does not mind, but Orleans schedules the collection of
// activations, retries and its client's gateways by the wall clock: after a step backwards, new activations fail and
// retries wait until the old time comes again. So a process whose clock is set by more than a few seconds hands its
// work back, ends, and is started again by its supervisor, as it is when its node goes away.
using System.Diagnostics;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Atelier.ServiceDefaults;

/// <summary>Ends the process in good order when the wall clock is set.</summary>
public sealed partial class ClockWatch(SteadyClock clock, IHostApplicationLifetime lifetime, ILogger<ClockWatch> logger)
    : BackgroundService, IHealthCheck
{
    // Clocks that are disciplined move by less; what moves by more was set.
    private static readonly TimeSpan s_stepMax = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(200);

    // The way out uses timers that the step may have broken.
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(6);

    private int _ending;

    /// <summary>Gets whether the clock was set: the process is about to end.</summary>
    public bool IsStepped => clock.WallStep.Duration() > s_stepMax;

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(IsStepped
            ? HealthCheckResult.Unhealthy("The clock was set; this process ends and is started again.")
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

        LogStep(clock.WallStep.TotalSeconds);
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

    [LoggerMessage(
        EventId = 801, Level = LogLevel.Warning,
        Message =
            "The clock was set by {Seconds:f0} s. This process hands its work back and ends; its supervisor starts it "
            + "again.")]
    private partial void LogStep(double seconds);
}

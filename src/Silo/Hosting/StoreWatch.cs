// The health of the store. A heartbeat is written twice a second, so that health checks promptly report failures that
// requests would run into.
using Atelier.Grains.Ports;
using Atelier.Silo.Store;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Atelier.Silo.Hosting;

/// <summary>Reports whether writes to the store succeed.</summary>
internal sealed class StoreWatch(IClusterStore store, TimeProvider clock, ILogger<StoreWatch> logger)
    : BackgroundService, IHealthCheck
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(1.2);

    private volatile string? _fault;
    private volatile bool _isFull;
    private string? _upkeepFault;
    private long _beatAt = clock.GetTimestamp();

    /// <summary>
    /// Gets the time since the last successful write; zero if the last write succeeded or the disk is full.
    /// </summary>
    public TimeSpan Silence =>
        _fault is null || _isFull ? TimeSpan.Zero : clock.GetElapsedTime(Interlocked.Read(ref _beatAt));

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(_fault is not { } fault ? HealthCheckResult.Healthy()
            : _isFull ? HealthCheckResult.Degraded(fault)
            : HealthCheckResult.Unhealthy(fault));

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(s_period, clock);
        Task beat = Task.CompletedTask;
        try
        {
            do
            {
                // A store that hangs gets no further heartbeat until the pending one ends.
                beat = beat.IsCompleted ? store.BeatAsync() : beat;
                await AwaitAsync(beat, stoppingToken);
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The silo is shutting down.
        }
    }

    private async Task AwaitAsync(Task beat, CancellationToken stopping)
    {
        string? fault = null;
        bool isFull = false;
        try
        {
            await beat.WaitAsync(s_patience, clock, stopping);
            Interlocked.Exchange(ref _beatAt, clock.GetTimestamp());
        }
        catch (StoreFullException error)
        {
            (fault, isFull) = (error.Message, true);
        }
        catch (TimeoutException)
        {
            fault = $"The store did not write a heartbeat within {s_patience.TotalSeconds:0.#} s.";
        }
        catch (Exception error) when (error is not OperationCanceledException || !stopping.IsCancellationRequested)
        {
            fault = $"The store cannot write: {error.Message}";
        }

        bool changed = (fault is null) != (_fault is null);
        (_isFull, _fault) = (isFull, fault);
        if (changed && fault is not null)
        {
            logger.StoreFails(fault);
        }
        else if (changed)
        {
            logger.StoreWrites();
        }

        if (store.UpkeepFault is { } untidy && _upkeepFault is null)
        {
            logger.StoreUntidy(untidy);
        }

        _upkeepFault = store.UpkeepFault;
    }
}

/// <summary>
/// Liveness of the store: unhealthy if it runs in this process and has not written for a while, because a new process
/// may repair it.
/// </summary>
internal sealed class StoreLiveCheck(IClusterStore store, StoreWatch watch) : IHealthCheck
{
    private static readonly TimeSpan s_silenceMax = TimeSpan.FromSeconds(6);

    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(store.IsInProcess && watch.Silence > s_silenceMax
            ? HealthCheckResult.Unhealthy($"The store has not written for {watch.Silence.TotalSeconds:0} s.")
            : HealthCheckResult.Healthy());
}

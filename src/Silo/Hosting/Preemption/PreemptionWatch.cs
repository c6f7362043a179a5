// The reaction to a notice: the silo says that it is not ready, drains its devices while it still serves requests, and
// stops. A silo that starts while a notice is in effect does not join its cluster before the notice is withdrawn, so
// that a supervisor that restarts it does not move work to a node that is about to be taken.
using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;

namespace Atelier.Silo.Hosting.Preemption;

/// <summary>Polls for notices, and stops the silo because of one.</summary>
internal sealed class PreemptionWatch : BackgroundService, IHealthCheck
{
    private readonly IPreemptionNotice _source;
    private readonly IServiceProvider _services;
    private readonly TimeSpan _timeout;
    private readonly IHostApplicationLifetime _lifetime;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly Counter<long> _notices;
    private readonly PreemptionState _state;
    private volatile PreemptionNotice? _notice;

    /// <summary>Creates the watch.</summary>
    /// <param name="source">The cloud's notices.</param>
    /// <param name="services">The services, of which each <see cref="IDeviceDrain"/> is drained.</param>
    /// <param name="options">Period and timeout of polls.</param>
    /// <param name="lifetime">The silo.</param>
    /// <param name="clock">The time.</param>
    /// <param name="meters">The metrics.</param>
    /// <param name="logger">The log.</param>
    public PreemptionWatch(
        IPreemptionNotice source, IServiceProvider services, IOptions<PreemptionOptions> options,
        IHostApplicationLifetime lifetime, TimeProvider clock, IMeterFactory meters, ILogger<PreemptionWatch> logger)
    {
        (_source, _services, _lifetime, _clock, _logger) = (source, services, lifetime, clock, logger);
        (_timeout, _state) = (options.Value.Timeout, new PreemptionState(options.Value.Period));
        _notices = meters.Create("Atelier.Silo").CreateCounterAtZero<long>(
            "atelier.silo.preemptions", "{notice}", "Notices that the silo's node will be taken.");
    }

    /// <inheritdoc/>
    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(_notice is { } notice
            ? HealthCheckResult.Unhealthy($"The silo's node will be taken: {notice}.")
            : HealthCheckResult.Healthy());

    /// <inheritdoc/>
    /// <remarks>Services that were added later, such as the cluster's membership, start after this one.</remarks>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        if (await PollAsync(cancellationToken) == PreemptionChange.Noticed)
        {
            _logger.NodeAwaited(_state.Notice!);
            while (_state.IsInEffect)
            {
                await Task.Delay(_state.Pause, _clock, cancellationToken);
                Log(await PollAsync(cancellationToken));
            }

            _state.Forget();
        }

        await base.StartAsync(cancellationToken);
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            Task draining = Task.CompletedTask;
            while (true)
            {
                await Task.Delay(_state.Pause, _clock, stoppingToken);
                PreemptionChange change = await PollAsync(stoppingToken);
                Log(change);
                if (change == PreemptionChange.Noticed)
                {
                    _notice = _state.Notice;
                    _notices.Add(1);
                    draining = DrainAndStopAsync();
                }

                if (_notice is not null && draining.IsCompleted)
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The silo is shutting down.
        }
    }

    // A drain that fails or takes too long does not keep the silo: its work is resumed elsewhere anyway.
    private async Task DrainAndStopAsync()
    {
        bool isDrained = false;
        try
        {
            Task drains = Task.WhenAll(_services.GetServices<IDeviceDrain>().Select(drain => drain.DrainAsync()));
            await drains.WaitAsync(
                _state.DrainTime(_clock.GetUtcNow()) ?? Timeout.InfiniteTimeSpan, _clock, CancellationToken.None);
            isDrained = true;
        }
        catch (Exception error) when (error is TimeoutException or OperationCanceledException)
        {
            // The log says so.
        }
        finally
        {
            _logger.NodeDrained(isDrained);
            _lifetime.StopApplication();
        }
    }

    private async Task<PreemptionChange> PollAsync(CancellationToken cancellation)
    {
        using var limit = new CancellationTokenSource(_timeout, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancellation);
        try
        {
            return _state.Polled(await _source.PollAsync(either.Token));
        }
        catch (Exception error) when (!cancellation.IsCancellationRequested)
        {
            PreemptionChange change = _state.Failed();
            if (change == PreemptionChange.Failing)
            {
                _logger.NoticeFails(limit.IsCancellationRequested
                    ? $"it did not answer within {_timeout.TotalSeconds:0.###} s" : error.Message);
            }

            return change;
        }
    }

    private void Log(PreemptionChange change)
    {
        switch (change)
        {
            case PreemptionChange.Noticed:
                _logger.NodeNoticed(_state.Notice!);
                break;
            case PreemptionChange.Withdrawn:
                _logger.NoticeWithdrawn();
                break;
            case PreemptionChange.Recovered:
                _logger.NoticeWorks();
                break;
        }
    }
}

/// <summary>Adds the watch for notices to a silo that is configured to read them.</summary>
internal static class PreemptionHosting
{
    // Documents of scheduled events are a few KiB.
    private const int BytesMax = 1 << 20;

    public static IServiceCollection AddPreemption(this IServiceCollection services, PreemptionOptions options)
    {
        if (options.Provider == PreemptionProvider.None)
        {
            return services;
        }

        // The metadata service is on the node itself and must not be asked through a proxy.
        services.AddSingleton(_ => Source(options, new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false, AllowAutoRedirect = false,
        })
        {
            BaseAddress = options.Address(), MaxResponseContentBufferSize = BytesMax,
        }));
        services.AddSingleton<PreemptionWatch>();
        services.AddHostedService(provider => provider.GetRequiredService<PreemptionWatch>());
        services.AddHealthChecks().AddCheck<PreemptionWatch>("preemption");
        return services;
    }

    /// <summary>The notices of a provider.</summary>
    internal static IPreemptionNotice Source(PreemptionOptions options, HttpClient http) => options.Provider switch
    {
        PreemptionProvider.Azure => new AzureNotice(http),
        PreemptionProvider.Aws => new AwsNotice(http),
        _ => new GcpNotice(http, options.Timeout),
    };
}

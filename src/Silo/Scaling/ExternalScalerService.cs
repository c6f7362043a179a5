// KEDA's external scaler. KEDA activates a pool at once when the stream says so, and then has an HPA follow the metric:
// with a target of 1 per replica, the metric's value is the number of replicas.
using System.Collections.Concurrent;
using Atelier.Contracts.Scaling;
using Atelier.Silo.Scaling.Keda;
using Grpc.Core;

namespace Atelier.Silo.Scaling;

/// <summary>Answers KEDA's questions about pools.</summary>
internal sealed class ExternalScalerService(
    IGrainFactory grains, TimeProvider clock, IHostApplicationLifetime lifetime, ILogger<ExternalScalerService> logger)
    : ExternalScaler.ExternalScalerBase
{
    /// <summary>The name of the metric.</summary>
    public const string Metric = "silos";

    // Maximum number of pools, so that a caller cannot create grains without bound.
    private const int PoolsMax = 64;

    // The longest time from a request that wakes a pool until the autoscaler is notified.
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(0.5);

    private readonly ConcurrentDictionary<string, bool> _pools = new(StringComparer.Ordinal);

    public override async Task<IsActiveResponse> IsActive(ScaledObjectRef request, ServerCallContext context) =>
        new() { Result = await StatusAsync(ScalerMetadata.Read(request)) is { Wanted: > 0 } };

    public override async Task StreamIsActive(
        ScaledObjectRef request, IServerStreamWriter<IsActiveResponse> responseStream, ServerCallContext context)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(
            context.CancellationToken, lifetime.ApplicationStopping);
        (string Pool, PoolBounds Bounds) trigger = ScalerMetadata.Read(request);
        bool? sent = null;
        while (!either.IsCancellationRequested)
        {
            bool? isActive = null;
            try
            {
                isActive = await StatusAsync(trigger) is { Wanted: > 0 };
            }
            catch (RpcException error) when (error.StatusCode == StatusCode.Unavailable)
            {
                // The stream outlives a grain that moves to another silo.
            }

            if (isActive is { } now && now != sent)
            {
                logger.PoolActive(trigger.Pool, now);
                await responseStream.WriteAsync(new IsActiveResponse { Result = now }, either.Token);
                sent = now;
            }

            await Task.Delay(s_period, clock, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public override Task<GetMetricSpecResponse> GetMetricSpec(ScaledObjectRef request, ServerCallContext context)
    {
        _ = ScalerMetadata.Read(request);
        return Task.FromResult(new GetMetricSpecResponse
        {
            MetricSpecs = { new MetricSpec { MetricName = Metric, TargetSize = 1, TargetSizeFloat = 1 } },
        });
    }

    public override async Task<GetMetricsResponse> GetMetrics(GetMetricsRequest request, ServerCallContext context)
    {
        PoolStatus status = await StatusAsync(ScalerMetadata.Read(request.ScaledObjectRef));
        return new GetMetricsResponse
        {
            MetricValues =
            {
                new MetricValue { MetricName = Metric, MetricValue_ = status.Wanted, MetricValueFloat = status.Wanted },
            },
        };
    }

    private async Task<PoolStatus> StatusAsync((string Pool, PoolBounds Bounds) trigger)
    {
        (string pool, PoolBounds bounds) = trigger;
        if (!_pools.ContainsKey(pool) && (_pools.Count >= PoolsMax || !_pools.TryAdd(pool, true)))
        {
            throw new RpcException(new Status(
                StatusCode.ResourceExhausted, $"A cluster has at most {PoolsMax} pools; '{pool}' would be one more."));
        }

        try
        {
            return await grains.GetGrain<IPoolGrain>(pool).StatusAsync(bounds);
        }
        catch (Exception error) when (error is TimeoutException or OrleansException)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, $"The pool '{pool}' did not answer; retry."));
        }
    }
}

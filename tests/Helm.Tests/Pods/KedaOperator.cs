// What KEDA and its autoscaler do with a ScaledObject of the chart: the scaler's stream wakes the pool, its metric sets
// the number of replicas, and after the cooldown the last replica is removed.
using System.Diagnostics;
using Atelier.Silo.Scaling.Keda;
using Grpc.Core;
using Grpc.Net.Client;

namespace Atelier.Helm.Tests.Pods;

/// <summary>Scales one workload.</summary>
internal sealed class KedaOperator : IAsyncDisposable
{
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_callTime = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _over = new();
    private readonly ScaledObjectSpec _spec;
    private readonly Workload _workload;
    private readonly GrpcChannel _channel;
    private readonly ExternalScaler.ExternalScalerClient _scaler;
    private readonly ScaledObjectRef _reference;
    private readonly List<(long At, bool IsActive)> _reports = [];
    private readonly Task _work;
    private bool _isActive;
    private long _lastActive = Stopwatch.GetTimestamp();

    public KedaOperator(PodCluster cluster, ScaledObject scaled)
    {
        _spec = scaled.Spec;
        _workload = cluster.Workloads.Single(workload => workload.Name == _spec.ScaleTargetRef.Name);
        ScaledObjectTrigger trigger = _spec.Triggers.Single();
        _channel = GrpcChannel.ForAddress(cluster.UrlOf(trigger.Metadata["scalerAddress"]));
        _scaler = new ExternalScaler.ExternalScalerClient(_channel);
        _reference = new ScaledObjectRef
        {
            Name = scaled.Metadata.Name, Namespace = "art", ScalerMetadata = { trigger.Metadata },
        };
        _work = Task.WhenAll(FollowAsync(), PollAsync());
    }

    /// <summary>When the scaler last began to report that the pool is needed, after a moment.</summary>
    /// <param name="since">The moment, a timestamp of Stopwatch.</param>
    /// <returns>The time since then; null if it did not.</returns>
    public TimeSpan? ActiveAfter(long since)
    {
        lock (_reports)
        {
            foreach ((long at, _) in _reports.Where(report => report.IsActive && report.At >= since))
            {
                return Stopwatch.GetElapsedTime(since, at);
            }

            return null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        await _work;
        _channel.Dispose();
    }

    private async Task FollowAsync()
    {
        while (!_over.IsCancellationRequested)
        {
            try
            {
                using AsyncServerStreamingCall<IsActiveResponse> stream =
                    _scaler.StreamIsActive(_reference, cancellationToken: _over.Token);
                while (await stream.ResponseStream.MoveNext(_over.Token))
                {
                    Report(stream.ResponseStream.Current.Result);
                }
            }
            catch (RpcException)
            {
                // No silo answers, or it leaves; the stream is opened again.
            }

            await Task.Delay(s_pause, _over.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task PollAsync()
    {
        while (!_over.IsCancellationRequested)
        {
            await Task.Delay(TimeSpan.FromSeconds(_spec.PollingInterval), _over.Token)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            try
            {
                Report((await _scaler.IsActiveAsync(_reference, Options())).Result);
                if (_workload.Replicas > 0)
                {
                    _workload.Replicas = await ReplicasAsync();
                }
            }
            catch (RpcException)
            {
                // The number of replicas stays.
            }

            if (!_isActive && _spec.MinReplicaCount == 0
                && Stopwatch.GetElapsedTime(_lastActive) > TimeSpan.FromSeconds(_spec.CooldownPeriod))
            {
                _workload.Replicas = 0;
            }
        }
    }

    // The largest number of replicas that a metric asks for, as the autoscaler computes it from an average value.
    private async Task<int> ReplicasAsync()
    {
        int replicas = Math.Max(1, _spec.MinReplicaCount);
        foreach (MetricSpec spec in (await _scaler.GetMetricSpecAsync(_reference, Options())).MetricSpecs)
        {
            GetMetricsResponse metrics = await _scaler.GetMetricsAsync(
                new GetMetricsRequest { ScaledObjectRef = _reference, MetricName = spec.MetricName }, Options());
            double target = spec.TargetSizeFloat > 0 ? spec.TargetSizeFloat : spec.TargetSize;
            double value = metrics.MetricValues.Single(one => one.MetricName == spec.MetricName).MetricValueFloat;
            replicas = Math.Max(replicas, (int)Math.Ceiling(value / target));
        }

        return Math.Min(replicas, _spec.MaxReplicaCount);
    }

    private CallOptions Options() => new(
        deadline: TimeProvider.System.GetUtcNow().UtcDateTime + s_callTime, cancellationToken: _over.Token);

    private void Report(bool isActive)
    {
        lock (_reports)
        {
            if (isActive != _isActive || _reports.Count == 0)
            {
                _reports.Add((Stopwatch.GetTimestamp(), isActive));
            }

            _isActive = isActive;
            _lastActive = isActive ? Stopwatch.GetTimestamp() : _lastActive;
            if (isActive && _workload.Replicas == 0)
            {
                _workload.Replicas = Math.Max(1, _spec.MinReplicaCount);
            }
        }
    }
}

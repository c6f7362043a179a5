// The passive health check: a silo that fails one request at the connection level gets no requests for a short time. By
// then the cluster knows whether the silo is dead.
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Health;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Routing;

/// <summary>Marks a silo as unhealthy at its first failure.</summary>
internal sealed class FirstFailurePolicy(IDestinationHealthUpdater health) : IPassiveHealthCheckPolicy
{
    /// <summary>The policy's name in YARP's configuration.</summary>
    public const string PolicyName = "FirstFailure";

    public string Name => PolicyName;

    public void RequestProxied(HttpContext context, ClusterState cluster, DestinationState destination)
    {
        if (IsFaultOfSilo(context.Features.Get<IForwarderErrorFeature>()))
        {
            TimeSpan period = cluster.Model.Config.HealthCheck?.Passive?.ReactivationPeriod ?? TimeSpan.FromSeconds(2);
            health.SetPassive(cluster, destination, DestinationHealth.Unhealthy, period);
        }
    }

    // A failure does not count against the silo if the client disconnects, sends an incomplete body or sends bytes that
    // cannot be forwarded, or if the request takes too long. The gateway's own probes detect a silo that hangs.
    private static bool IsFaultOfSilo(IForwarderErrorFeature? failure) => failure?.Error switch
    {
        ForwarderError.Request => SiloClientFactory.IsConnectionFault(failure.Exception),
        ForwarderError.RequestBodyDestination or ForwarderError.ResponseBodyDestination => true,
        _ => false,
    };
}

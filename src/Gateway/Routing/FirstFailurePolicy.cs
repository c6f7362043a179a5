// The passive health check: a silo that fails one request at the connection level gets no requests for a moment. After
// that the cluster knows whether it is dead.
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Health;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Routing;

/// <summary>Marks a silo as unhealthy at its first failure.</summary>
internal sealed class FirstFailurePolicy(IDestinationHealthUpdater health) : IPassiveHealthCheckPolicy
{
    /// <summary>The policy's name in configurations.</summary>
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

    // A client that disconnects, sends half a body or bytes that cannot be forwarded, or whose request takes too long
    // does not count against the silo. The gateway's own probes notice a silo that hangs.
    private static bool IsFaultOfSilo(IForwarderErrorFeature? failure) => failure?.Error switch
    {
        ForwarderError.Request => SiloClientFactory.IsConnectionFault(failure.Exception),
        ForwarderError.RequestBodyDestination or ForwarderError.ResponseBodyDestination => true,
        _ => false,
    };
}

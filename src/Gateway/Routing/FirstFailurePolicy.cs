// A silo that fails one request at the level of connections gets no other for a moment: by then the cluster knows
// whether it is dead.
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Health;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Routing;

/// <summary>Takes a silo out at its first failure.</summary>
internal sealed class FirstFailurePolicy(IDestinationHealthUpdater health) : IPassiveHealthCheckPolicy
{
    /// <summary>The policy's name in configurations.</summary>
    public const string PolicyName = "FirstFailure";

    public string Name => PolicyName;

    public void RequestProxied(HttpContext context, ClusterState cluster, DestinationState destination)
    {
        if (IsTheSilos(context.Features.Get<IForwarderErrorFeature>()))
        {
            TimeSpan period = cluster.Model.Config.HealthCheck?.Passive?.ReactivationPeriod ?? TimeSpan.FromSeconds(2);
            health.SetPassive(cluster, destination, DestinationHealth.Unhealthy, period);
        }
    }

    // A client that disconnects, sends half a body or bytes that cannot be forwarded, or whose request takes too long
    // says nothing about the silo. The gateway's own probes notice a silo that hangs.
    private static bool IsTheSilos(IForwarderErrorFeature? failure) => failure?.Error switch
    {
        ForwarderError.Request => SiloClientFactory.IsConnectionFault(failure.Exception),
        ForwarderError.RequestBodyDestination or ForwarderError.ResponseBodyDestination => true,
        _ => false,
    };
}

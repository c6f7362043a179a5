// Log events of connections to a silo's Orleans ports, for an operator.
using System.Net;
using Microsoft.Extensions.Logging;

namespace Atelier.ServiceDefaults;

/// <summary>Log events of unproven connections.</summary>
internal static partial class ConnectionsLog
{
    [LoggerMessage(
        EventId = 802, Level = LogLevel.Warning,
        Message = "Refused {Count} connections to the cluster's ports since this was last logged: their peers did not "
            + "prove that they know Cluster:Secret; the last one was {Peer}.")]
    public static partial void ConnectionsRefused(this ILogger logger, int count, EndPoint? peer);
}

// Log events of a gateway, for its operator.
using Atelier.Contracts;

namespace Atelier.Gateway.Telemetry;

/// <summary>Log events of a gateway.</summary>
internal static partial class GatewayLog
{
    [LoggerMessage(EventId = 701, Level = LogLevel.Information, Message = "Connected to the cluster.")]
    public static partial void Connected(this ILogger logger);

    [LoggerMessage(
        EventId = 702, Level = LogLevel.Warning, Message = "Could not connect to the cluster; retrying: {Reason}")]
    public static partial void NotConnected(this ILogger logger, string reason);

    [LoggerMessage(
        EventId = 703, Level = LogLevel.Information,
        Message = "Requests are now forwarded to silo {Silo} at {Address}; there are {Count} silos.")]
    public static partial void RouteAdded(this ILogger logger, string silo, string address, int count);

    [LoggerMessage(
        EventId = 704, Level = LogLevel.Information,
        Message = "Requests are no longer forwarded to silo {Silo} at {Address}; there are {Count} silos.")]
    public static partial void RouteRemoved(this ILogger logger, string silo, string address, int count);

    [LoggerMessage(
        EventId = 705, Level = LogLevel.Warning,
        Message = "Silo {Silo} gets no requests: '{Address}' is not an HTTP URL.")]
    public static partial void RouteUnusable(this ILogger logger, string silo, string address);

    [LoggerMessage(
        EventId = 706, Level = LogLevel.Warning,
        Message = "The cluster does not answer; requests are forwarded to the silos known so far ({Count}).")]
    public static partial void ClusterSilent(this ILogger logger, int count);

    [LoggerMessage(EventId = 707, Level = LogLevel.Information, Message = "The cluster answers again.")]
    public static partial void ClusterAnswers(this ILogger logger);

    [LoggerMessage(
        EventId = 708, Level = LogLevel.Information,
        Message = "{Count} requests or connections were refused as {Reason} since this was last logged; the last one "
            + "was {Request}.")]
    public static partial void Refused(this ILogger logger, int count, string reason, string? request);

    [LoggerMessage(
        EventId = 709, Level = LogLevel.Warning,
        Message = "Unknown keys arrive faster than they are looked up; {Count} requests were refused since this "
            + "was last logged.")]
    public static partial void UnknownKeys(this ILogger logger, long count);

    [LoggerMessage(
        EventId = 710, Level = LogLevel.Error,
        Message = "Request {RequestId} ({Method}) failed in the gateway.")]
    public static partial void RequestFailed(this ILogger logger, Exception error, string method, string requestId);

    [LoggerMessage(
        EventId = 712, Level = LogLevel.Debug,
        Message = "Request {RequestId} ({Method}) of tenant {Tenant} was {Outcome} with status {Status}.")]
    public static partial void RequestEnded(
        this ILogger logger, string requestId, string method, TenantId? tenant, string outcome, int status);

    [LoggerMessage(EventId = 711, Level = LogLevel.Warning, Message = "{Warning}")]
    public static partial void StartWarning(this ILogger logger, string warning);
}

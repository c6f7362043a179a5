// Log events of tenants, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Tenants;

/// <summary>Log events of tenants.</summary>
internal static partial class TenantLog
{
    [LoggerMessage(
        EventId = 501, Level = LogLevel.Information,
        Message = "Since this was last logged, {Count} requests were refused because their tenants had reached their "
            + "storage limits; the last one was from tenant {Tenant}, which stores {Megabytes} MiB")]
    public static partial void TooMuchStored(this ILogger logger, int count, TenantId tenant, long megabytes);

    [LoggerMessage(
        EventId = 502, Level = LogLevel.Information,
        Message = "Since this was last logged, {Count} sessions were refused because their tenants had reached their "
            + "limits; the last one was from tenant {Tenant}, whose limit is {Sessions}")]
    public static partial void TooManySessions(this ILogger logger, int count, TenantId tenant, int sessions);
}

// Log events of tenants, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Tenants;

/// <summary>Log events of tenants.</summary>
internal static partial class TenantLog
{
    [LoggerMessage(
        EventId = 501, Level = LogLevel.Information,
        Message = "{Count} requests were refused since this was last logged because their tenants had reached their "
            + "storage limits; the last one was of tenant {Tenant}, which keeps {Megabytes} MiB")]
    public static partial void TooMuchStored(this ILogger logger, int count, TenantId tenant, long megabytes);

    [LoggerMessage(
        EventId = 502, Level = LogLevel.Information,
        Message = "{Count} sessions were refused since this was last logged because their tenants had reached their "
            + "limits; the last one was of tenant {Tenant}, which has {Sessions}")]
    public static partial void TooManySessions(this ILogger logger, int count, TenantId tenant, int sessions);
}

// Log events of open sets and retention, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.OpenSets;

/// <summary>Log events of open sets and retention.</summary>
internal static partial class OpenSetLog
{
    [LoggerMessage(
        EventId = 401,
        Message = "{Count} tenants did not report whether they are closed since this was last logged; the next walk "
            + "asks again; the last one was {Tenant}")]
    public static partial void TenantUnanswered(
        this ILogger logger, LogLevel level, int count, TenantId tenant, Exception error);

    [LoggerMessage(
        EventId = 402,
        Message = "{Count} generations did not answer a walk since this was last logged; the next walk asks again; the "
            + "last one was {Generation}")]
    public static partial void GenerationUnanswered(
        this ILogger logger, LogLevel level, int count, GenerationKey generation, Exception error);

    [LoggerMessage(
        EventId = 403, Level = LogLevel.Error, Message = "A round of partition {Partition} of the open set failed")]
    public static partial void RoundFailed(this ILogger logger, long partition, Exception error);

    [LoggerMessage(
        EventId = 411, Level = LogLevel.Information,
        Message = "Retention has forgotten {Count} of {List}, {Left} are left")]
    public static partial void Swept(this ILogger logger, string list, int count, int left);

    [LoggerMessage(
        EventId = 412, Level = LogLevel.Warning,
        Message = "Retention could not forget {Count} items since this was last logged and will ask again; the last "
            + "one was {Key}")]
    public static partial void Kept(this ILogger logger, int count, string key, Exception error);
}

// Log events of open sets and retention, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.OpenSets;

/// <summary>Log events of open sets and retention.</summary>
internal static partial class OpenSetLog
{
    [LoggerMessage(
        EventId = 401,
        Message = "Since this was last logged, {Count} tenants did not answer whether they are closed; the next walk "
            + "retries; the last one was {Tenant}")]
    public static partial void TenantUnanswered(
        this ILogger logger, LogLevel level, int count, TenantId tenant, Exception error);

    [LoggerMessage(
        EventId = 402,
        Message = "Since this was last logged, {Count} generations did not answer a walk; the next walk retries; the "
            + "last one was {Generation}")]
    public static partial void GenerationUnanswered(
        this ILogger logger, LogLevel level, int count, GenerationKey generation, Exception error);

    [LoggerMessage(
        EventId = 403, Level = LogLevel.Error, Message = "A round of partition {Partition} of the open set failed")]
    public static partial void RoundFailed(this ILogger logger, long partition, Exception error);

    [LoggerMessage(
        EventId = 411, Level = LogLevel.Information,
        Message = "Retention deleted {Count} entries of list {List}; {Left} are left")]
    public static partial void Swept(this ILogger logger, string list, int count, int left);

    [LoggerMessage(
        EventId = 412, Level = LogLevel.Warning,
        Message = "Since this was last logged, retention could not delete {Count} items; it will retry; the last one "
            + "was {Key}")]
    public static partial void Kept(this ILogger logger, int count, string key, Exception error);
}

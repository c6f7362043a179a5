// Log events of the queue, for an operator.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Queueing;

/// <summary>Log events of the queue.</summary>
internal static partial class QueueLog
{
    [LoggerMessage(
        EventId = 201, Level = LogLevel.Warning,
        Message = "The {Kind} lease of generation {Generation} expired: worker {Worker} stopped reporting")]
    public static partial void LeaseExpired(
        this ILogger logger, WorkKind kind, GenerationKey generation, string worker);

    [LoggerMessage(
        EventId = 202, Level = LogLevel.Warning,
        Message = "Since this was last logged, the queue refused {Count} work items ({Bound}); the last one was from "
            + "tenant {Tenant}")]
    public static partial void QueueFull(this ILogger logger, int count, OfferOutcome bound, TenantId tenant);

    [LoggerMessage(
        EventId = 203, Level = LogLevel.Warning,
        Message = "{Count} partitions of the open set did not answer the queue; the first of them is {Partition}")]
    public static partial void PartitionsUnanswered(
        this ILogger logger, int count, int partition, Exception error);

    [LoggerMessage(
        EventId = 204, Level = LogLevel.Error,
        Message = "The queue could not recover the work of {What} of the open set; reminders will recover it within "
            + "minutes")]
    public static partial void PartitionsUnasked(this ILogger logger, string what);

    [LoggerMessage(
        EventId = 205, Level = LogLevel.Error,
        Message = "The queue's recovery failed; reminders will restore the open work within minutes")]
    public static partial void RecoveryFailed(this ILogger logger, Exception error);

    [LoggerMessage(
        EventId = 206, Level = LogLevel.Information,
        Message = "The queue starts on this silo and asks {Partitions} partitions of the open set for their work")]
    public static partial void QueueBegins(this ILogger logger, int partitions);
}

// The log events of workers.
using Atelier.Contracts;
using Atelier.Contracts.Workers;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>Log events of workers.</summary>
internal static partial class WorkerLog
{
    [LoggerMessage(
        EventId = 301, Level = LogLevel.Warning,
        Message = "A call by worker {Worker} was not answered; it will be retried")]
    public static partial void CallUnanswered(this ILogger logger, WorkerKey worker, Exception error);

    [LoggerMessage(
        EventId = 302, Level = LogLevel.Error,
        Message = "Worker {Worker} cannot register the model {Name} ({Model}): "
            + "the catalog is full with {SizeMax} models in use")]
    public static partial void CatalogFull(
        this ILogger logger, WorkerKey worker, string name, ModelDigest model, int sizeMax);

    [LoggerMessage(
        EventId = 303, Level = LogLevel.Error,
        Message = "Worker {Worker} cannot register the model {Name} ({Model})")]
    public static partial void ModelUnregistered(
        this ILogger logger, WorkerKey worker, string name, ModelDigest model, Exception error);

    [LoggerMessage(
        EventId = 304, Level = LogLevel.Error,
        Message = "Worker {Worker} cannot load the model {Model}; it will retry after a pause")]
    public static partial void ModelRefused(this ILogger logger, WorkerKey worker, ModelDigest model, Exception error);

    [LoggerMessage(
        EventId = 305, Level = LogLevel.Warning, Message = "Worker {Worker} failed to do the work of {Generation}")]
    public static partial void WorkFailed(
        this ILogger logger, WorkerKey worker, GenerationKey generation, Exception error);

    [LoggerMessage(
        EventId = 306, Level = LogLevel.Information, Message = "Worker {Worker} begins on device kind {DeviceKind}")]
    public static partial void WorkerBegins(this ILogger logger, WorkerKey worker, string deviceKind);

    [LoggerMessage(
        EventId = 307, Level = LogLevel.Information,
        Message = "Worker {Worker} drains: it returns {Count} work items")]
    public static partial void WorkerDrains(this ILogger logger, WorkerKey worker, int count);

    [LoggerMessage(
        EventId = 308, Level = LogLevel.Information,
        Message = "Worker {Worker} ended; {Count} work items that it still held wait for their leases to expire")]
    public static partial void WorkerEnds(this ILogger logger, WorkerKey worker, int count);

    [LoggerMessage(
        EventId = 309, Level = LogLevel.Information,
        Message = "Worker {Worker} drops generation {Generation}: its claim with epoch {Epoch} is no longer valid")]
    public static partial void ClaimInvalid(
        this ILogger logger, WorkerKey worker, GenerationKey generation, long epoch);

    [LoggerMessage(
        EventId = 310, Level = LogLevel.Critical, Message = "Worker {Worker} ends because of an unexpected fault")]
    public static partial void WorkerFaulted(this ILogger logger, WorkerKey worker, Exception error);
}

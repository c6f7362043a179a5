// Log events of the published models on a silo, for an operator.
using Atelier.Contracts;

namespace Atelier.Silo.Models;

/// <summary>Log events of published models.</summary>
internal static partial class ModelsLog
{
    [LoggerMessage(
        EventId = 651, Level = LogLevel.Information,
        Message = "The published model {Name} ({Model}) is on this silo's disk and is offered")]
    public static partial void ModelOffered(this ILogger logger, string name, ModelDigest model);

    [LoggerMessage(
        EventId = 652, Level = LogLevel.Warning,
        Message = "The published model {Name} ({Model}) could not be fetched and will be retried: {Reason}")]
    public static partial void ModelNotFetched(this ILogger logger, string name, ModelDigest model, string reason);

    [LoggerMessage(
        EventId = 653, Level = LogLevel.Error, Message = "Published models cannot be followed and will be retried")]
    public static partial void FollowingFailed(this ILogger logger, Exception error);
}

// Log events of the catalog and of published models, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Models;

/// <summary>Log events of the catalog and of published models.</summary>
internal static partial class ModelLog
{
    [LoggerMessage(
        EventId = 511, Level = LogLevel.Warning,
        Message = "The catalog is full: model {Dropped} is replaced by {Name} ({Model})")]
    public static partial void ModelDropped(this ILogger logger, ModelDigest dropped, string name, ModelDigest model);

    [LoggerMessage(
        EventId = 512, Level = LogLevel.Information,
        Message = "The model {Name} ({Model}) is published from run {Run}, stage {Stage}, step {Step}")]
    public static partial void ModelPublished(
        this ILogger logger, string name, ModelDigest model, string run, int stage, long step);

    [LoggerMessage(
        EventId = 513, Level = LogLevel.Information,
        Message = "The model {Name} is withdrawn; it is removed when no work needs it")]
    public static partial void ModelWithdrawn(this ILogger logger, string name);
}

// Log events of the catalog of models, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Models;

/// <summary>Log events of the catalog.</summary>
internal static partial class ModelLog
{
    [LoggerMessage(
        EventId = 511, Level = LogLevel.Warning,
        Message = "The catalog is full: model {Dropped} is replaced by {Name} ({Model})")]
    public static partial void ModelDropped(this ILogger logger, ModelDigest dropped, string name, ModelDigest model);
}

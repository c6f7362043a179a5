// Log events of the sweep of the blob store, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Blobs;

/// <summary>Log events of the sweep of the blob store.</summary>
internal static partial class BlobLog
{
    [LoggerMessage(
        EventId = 121, Level = LogLevel.Warning,
        Message = "{Count} owners did not say whether they need a blob since this was last logged, so the blobs stay; "
            + "the last one was {Owner} of {Blob}")]
    public static partial void OwnerUnanswered(
        this ILogger logger, int count, string owner, BlobName blob, Exception error);
}

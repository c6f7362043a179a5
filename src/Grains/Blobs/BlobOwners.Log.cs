// Log events of the sweep of the blob store, for an operator.
using Atelier.Contracts;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Blobs;

/// <summary>Log events of the sweep of the blob store.</summary>
internal static partial class BlobLog
{
    [LoggerMessage(
        EventId = 121, Level = LogLevel.Warning,
        Message = "Since this was last logged, {Count} owners did not answer whether they need a blob, so the blobs "
            + "are kept; the last one was {Owner} of {Blob}")]
    public static partial void OwnerUnanswered(
        this ILogger logger, int count, string owner, BlobName blob, Exception error);
}

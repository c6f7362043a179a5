// The log events of generations.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Generations;

/// <summary>Log events of generations.</summary>
internal static partial class GenerationLog
{
    [LoggerMessage(
        EventId = 101, Level = LogLevel.Warning,
        Message = "The blob store did not release {Count} blobs of generation {Generation}; this will be retried")]
    public static partial void BlobsUnreleased(this ILogger logger, GenerationKey generation, int count);

    [LoggerMessage(
        EventId = 102, Level = LogLevel.Warning,
        Message = "Another activation has written generation {Generation}: epoch {Epoch} here, {StoredEpoch} in the "
            + "store")]
    public static partial void StateReplaced(
        this ILogger logger, GenerationKey generation, long epoch, long storedEpoch);

    [LoggerMessage(
        EventId = 103, Level = LogLevel.Warning,
        Message = "Generation {Generation} fails: its model {Model} is retired")]
    public static partial void ModelRetired(this ILogger logger, GenerationKey generation, ModelDigest model);

    [LoggerMessage(
        EventId = 104, Level = LogLevel.Warning,
        Message = "Generation {Generation} lost worker {Worker}, which had claimed it with epoch {Epoch}, at step "
            + "{Step}")]
    public static partial void ClaimLost(
        this ILogger logger, GenerationKey generation, string worker, long epoch, int step);

    [LoggerMessage(
        EventId = 105, Level = LogLevel.Warning,
        Message = "Generation {Generation} is in quarantine: it runs alone until its next snapshot")]
    public static partial void Quarantined(this ILogger logger, GenerationKey generation);

    [LoggerMessage(
        EventId = 106, Level = LogLevel.Warning,
        Message = "Generation {Generation} restarts at step 0 on device kind {DeviceKind}; it was at step {Step}")]
    public static partial void RestartedElsewhere(
        this ILogger logger, GenerationKey generation, string deviceKind, int step);

    [LoggerMessage(
        EventId = 107, Level = LogLevel.Debug,
        Message = "Worker {Worker} claimed generation {Generation} with epoch {Epoch} at step {Step}")]
    public static partial void Claimed(
        this ILogger logger, GenerationKey generation, string worker, long epoch, int step);

    [LoggerMessage(
        EventId = 108, Level = LogLevel.Warning, Message = "Generation {Generation} failed: {Error}, {Reason}")]
    public static partial void Failed(
        this ILogger logger, GenerationKey generation, GenerationError error, string? reason);

    [LoggerMessage(
        EventId = 109, Level = LogLevel.Information,
        Message = "Since this was last logged, {Count} submissions were refused as {Outcome}; the last one was from "
            + "tenant {Tenant}: {Reason}")]
    public static partial void SubmissionRefused(
        this ILogger logger, int count, SubmitOutcome outcome, TenantId tenant, string? reason);
}

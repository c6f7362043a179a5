using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>Why a generation failed.</summary>
[GenerateSerializer, Alias("atelier.GenerationError")]
public enum GenerationError
{
    /// <summary>It did not fail.</summary>
    None,

    /// <summary>Every worker that ran it alone died.</summary>
    WorkerLost,

    /// <summary>A device had too little memory for it, twice.</summary>
    OutOfMemory,

    /// <summary>A computation on the device failed, twice.</summary>
    KernelFailed,

    /// <summary>A worker rejected the request because it does not fit the model.</summary>
    InvalidRequest,

    /// <summary>Blobs that it needs are missing from the blob store.</summary>
    BlobLost,

    /// <summary>A part of the model produced NaN or infinity, twice; the weights or a device are at fault.</summary>
    NonFinite = 6,

    /// <summary>No worker holds its model anymore, and another model has taken its name.</summary>
    ModelRetired = 7,
}

/// <summary>How much of a prompt the model's text encoder used, in tokens without the start and end marks.</summary>
/// <param name="Given">Tokens of the whole prompt.</param>
/// <param name="Used">Leading tokens that the text encoder used.</param>
/// <param name="CutAt">
/// The start of the part that was cut off, at most 40 UTF-16 units, in lower case as the tokenizer reads it; null if
/// nothing was cut off.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.PromptTokens")]
public sealed record PromptTokens(
    [property: Id(0)] int Given, [property: Id(1)] int Used, [property: Id(2)] string? CutAt);

/// <summary>How much of both prompts was encoded.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="Negative">The negative prompt; null if none was encoded.</param>
[GenerateSerializer, Immutable, Alias("atelier.EncodedPrompts")]
public sealed record EncodedPrompts([property: Id(0)] PromptTokens Prompt, [property: Id(1)] PromptTokens? Negative);

/// <summary>A generation as its tenant sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationView")]
public sealed record GenerationView
{
    /// <summary>Its tenant and id.</summary>
    [Id(0)]
    public required GenerationKey Key { get; init; }

    /// <summary>The request.</summary>
    [Id(1)]
    public required Submission Submission { get; init; }

    /// <summary>Its current phase.</summary>
    [Id(2)]
    public required GenerationPhase Phase { get; init; }

    /// <summary>Steps done.</summary>
    [Id(3)]
    public int Step { get; init; }

    /// <summary>Its place in the queue; null if it does not wait there.</summary>
    [Id(4)]
    public QueuePlace? Place { get; init; }

    /// <summary>The picture, once it is done.</summary>
    [Id(5)]
    public BlobName? Picture { get; init; }

    /// <summary>The cause of the failure, if it failed.</summary>
    [Id(6)]
    public GenerationError Error { get; init; }

    /// <summary>The failure as a sentence.</summary>
    [Id(7)]
    public string? Message { get; init; }

    /// <summary>When it was accepted.</summary>
    [Id(8)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When it ended; null while it is open.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Number of claims so far; 3 if nothing went wrong.</summary>
    [Id(10)]
    public long Epoch { get; init; }

    /// <summary>Number of restarts at step 0 because no worker of its device kind was left.</summary>
    [Id(11)]
    public int Restarts { get; init; }

    /// <summary>The device kind that denoises it, or did; null before that.</summary>
    [Id(12)]
    public string? DeviceKind { get; init; }

    /// <summary>
    /// Its index in the session's history; null without a session, or if it is from before indexes were stored.
    /// </summary>
    [Id(13)]
    public int? SessionIndex { get; init; }

    /// <summary>
    /// How much of its prompts was encoded; null before encoding, or if the worker does not report it.
    /// </summary>
    [Id(14)]
    public EncodedPrompts? Encoded { get; init; }
}

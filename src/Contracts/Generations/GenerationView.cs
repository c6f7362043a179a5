using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>Why a generation failed.</summary>
[GenerateSerializer, Alias("atelier.GenerationError")]
public enum GenerationError
{
    /// <summary>The generation did not fail.</summary>
    None,

    /// <summary>Each worker that ran the generation alone died.</summary>
    WorkerLost,

    /// <summary>A device had too little memory for the generation, twice.</summary>
    OutOfMemory,

    /// <summary>A computation on the device failed, twice.</summary>
    KernelFailed,

    /// <summary>A worker rejected the request because it does not fit the model.</summary>
    InvalidRequest,

    /// <summary>Blobs that the generation needs are missing from the blob store.</summary>
    BlobLost,

    /// <summary>A part of the model produced NaN or infinity, twice; the weights or a device are at fault.</summary>
    NonFinite = 6,

    /// <summary>
    /// No worker holds the generation's model anymore, and another model has taken over that model's name.
    /// </summary>
    ModelRetired = 7,
}

/// <summary>
/// How much of a prompt the model's text encoder used, in tokens, not counting the start and end tokens.
/// </summary>
/// <param name="Given">Tokens of the whole prompt.</param>
/// <param name="Used">Leading tokens that the text encoder used.</param>
/// <param name="CutAt">
/// The start of the part that was cut off, at most 40 UTF-16 units, in lower case as the tokenizer reads it; null if
/// nothing was cut off.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.PromptTokens")]
public sealed record PromptTokens(
    [property: Id(0)] int Given, [property: Id(1)] int Used, [property: Id(2)] string? CutAt)
{
    /// <summary>The numbers without the text.</summary>
    public override string ToString() => $"{Used} of {Given}";
}

/// <summary>How much of both prompts was encoded.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="Negative">The negative prompt; null if none was encoded.</param>
[GenerateSerializer, Immutable, Alias("atelier.EncodedPrompts")]
public sealed record EncodedPrompts([property: Id(0)] PromptTokens Prompt, [property: Id(1)] PromptTokens? Negative);

/// <summary>A generation as its tenant sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationView")]
public sealed record GenerationView
{
    /// <summary>The generation's tenant and id.</summary>
    [Id(0)]
    public required GenerationKey Key { get; init; }

    /// <summary>The request.</summary>
    [Id(1)]
    public required Submission Submission { get; init; }

    /// <summary>The current phase.</summary>
    [Id(2)]
    public required GenerationPhase Phase { get; init; }

    /// <summary>Steps done.</summary>
    [Id(3)]
    public int Step { get; init; }

    /// <summary>The place of the generation's work in the queue; null if no work waits there.</summary>
    [Id(4)]
    public QueuePlace? Place { get; init; }

    /// <summary>The finished picture; null before the generation is done.</summary>
    [Id(5)]
    public BlobName? Picture { get; init; }

    /// <summary>The cause of the failure, if the generation failed.</summary>
    [Id(6)]
    public GenerationError Error { get; init; }

    /// <summary>The failure as a sentence.</summary>
    [Id(7)]
    public string? Message { get; init; }

    /// <summary>When the generation was accepted.</summary>
    [Id(8)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When the generation ended; null while it is open.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Number of claims so far. A generation without failures takes 3, one for each kind of work.</summary>
    [Id(10)]
    public long Epoch { get; init; }

    /// <summary>Number of restarts at step 0 because no worker of the snapshot's device kind was left.</summary>
    [Id(11)]
    public int Restarts { get; init; }

    /// <summary>The device kind that denoises or has denoised the picture; null before denoising.</summary>
    [Id(12)]
    public string? DeviceKind { get; init; }

    /// <summary>
    /// The generation's index in its session's history; null without a session, or if a release that did not store
    /// indexes accepted the generation.
    /// </summary>
    [Id(13)]
    public int? SessionIndex { get; init; }

    /// <summary>
    /// How much of the prompts was encoded; null before encoding, or if the worker does not report this.
    /// </summary>
    [Id(14)]
    public EncodedPrompts? Encoded { get; init; }
}

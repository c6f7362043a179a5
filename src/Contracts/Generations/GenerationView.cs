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

    /// <summary>A kernel threw, twice.</summary>
    KernelFailed,

    /// <summary>A worker refused what it was given: it does not fit the model.</summary>
    InvalidRequest,

    /// <summary>Bytes that it needs are gone from the blob store.</summary>
    BlobLost,

    /// <summary>A part of the model gave NaN or an infinity, twice: its weights or a device are at fault.</summary>
    NonFinite = 6,

    /// <summary>No worker holds its model any more, and another model has taken the name.</summary>
    ModelRetired = 7,
}

/// <summary>
/// How much of a prompt the model's text encoder takes, in tokens without the start and end marks.
/// </summary>
/// <param name="Given">Tokens of the whole prompt.</param>
/// <param name="Used">Those of them that the text encoder takes, the first ones.</param>
/// <param name="CutAt">
/// The beginning of what is cut off, at most 40 UTF-16 units, in lower case as the tokenizer reads it; null if nothing
/// is.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.PromptTokens")]
public sealed record PromptTokens(
    [property: Id(0)] int Given, [property: Id(1)] int Used, [property: Id(2)] string? CutAt);

/// <summary>The same for both prompts.</summary>
/// <param name="Prompt">The prompt.</param>
/// <param name="Negative">The negative prompt; null where none was encoded.</param>
[GenerateSerializer, Immutable, Alias("atelier.EncodedPrompts")]
public sealed record EncodedPrompts([property: Id(0)] PromptTokens Prompt, [property: Id(1)] PromptTokens? Negative);

/// <summary>A generation as its tenant sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationView")]
public sealed record GenerationView
{
    /// <summary>Which one.</summary>
    [Id(0)]
    public required GenerationKey Key { get; init; }

    /// <summary>What was asked for.</summary>
    [Id(1)]
    public required Submission Submission { get; init; }

    /// <summary>Where it stands.</summary>
    [Id(2)]
    public required GenerationPhase Phase { get; init; }

    /// <summary>Steps done.</summary>
    [Id(3)]
    public int Step { get; init; }

    /// <summary>Where it stands in the queue, if it waits there.</summary>
    [Id(4)]
    public QueuePlace? Place { get; init; }

    /// <summary>The picture, once done.</summary>
    [Id(5)]
    public BlobName? Picture { get; init; }

    /// <summary>Why it failed, if it did.</summary>
    [Id(6)]
    public GenerationError Error { get; init; }

    /// <summary>The failure in a sentence.</summary>
    [Id(7)]
    public string? Message { get; init; }

    /// <summary>When it was accepted.</summary>
    [Id(8)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When it ended.</summary>
    [Id(9)]
    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Claims so far: 3 where nothing went wrong.</summary>
    [Id(10)]
    public long Epoch { get; init; }

    /// <summary>How often it started again at step 0 because no worker of its device kind was left.</summary>
    [Id(11)]
    public int Restarts { get; init; }

    /// <summary>The device kind that denoised it, as far as it is.</summary>
    [Id(12)]
    public string? DeviceKind { get; init; }

    /// <summary>Its place in its session's history; none without a session, or before places were stored.</summary>
    [Id(13)]
    public int? SessionIndex { get; init; }

    /// <summary>How much of its prompts was encoded; null before that, or where the worker does not say.</summary>
    [Id(14)]
    public EncodedPrompts? Encoded { get; init; }
}

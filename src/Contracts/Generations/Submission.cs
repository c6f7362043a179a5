namespace Atelier.Contracts.Generations;

/// <summary>A request to generate.</summary>
[GenerateSerializer, Immutable, Alias("atelier.Submission")]
public sealed record Submission
{
    /// <summary>Maximum number of previews of one generation.</summary>
    public const int PreviewsMax = 3;

    /// <summary>Specification of the picture.</summary>
    [Id(0)]
    public required GenerationSpec Spec { get; init; }

    /// <summary>The session that the generation belongs to, if any.</summary>
    [Id(1)]
    public SessionId? Session { get; init; }

    /// <summary>Number of previews to make; they do not change the picture.</summary>
    [Id(2)]
    public int Previews { get; init; }

    /// <summary>The generation that this one is a variation of, if any.</summary>
    [Id(3)]
    public GenerationId? VariationOf { get; init; }
}

/// <summary>The outcome of a submission.</summary>
[GenerateSerializer, Alias("atelier.SubmitOutcome")]
public enum SubmitOutcome
{
    /// <summary>Accepted: the generation will end in a picture or in a recorded failure.</summary>
    Accepted,

    /// <summary>
    /// This id was accepted before with the same specification; the answer describes that generation.
    /// </summary>
    Exists,

    /// <summary>This id was accepted before with another specification.</summary>
    Conflict,

    /// <summary>The specification is not valid; the message says how to correct it.</summary>
    Invalid,

    /// <summary>The model is not in the catalog.</summary>
    UnknownModel,

    /// <summary>The queue is full.</summary>
    Busy,

    /// <summary>The tenant has exceeded its requests per minute.</summary>
    RateLimited,

    /// <summary>The tenant has reached its limit of open generations.</summary>
    TooManyOpen,

    /// <summary>The tenant has used up its evaluations for the day.</summary>
    DailyLimit,

    /// <summary>The submission came too late, or the generation with this id was deleted; a new id is needed.</summary>
    Gone,

    /// <summary>The tenant does not exist or was closed.</summary>
    UnknownTenant,

    /// <summary>The tenant has reached its limit of sessions.</summary>
    TooManySessions,

    /// <summary>The tenant has reached its storage limit.</summary>
    TooMuchStored,

    /// <summary>The store has no room for new generations.</summary>
    StoreFull,
}

/// <summary>Answer to a submission.</summary>
/// <param name="Outcome">Whether the submission was accepted.</param>
/// <param name="Message">If the submission was not accepted: what is wrong and how to correct it.</param>
/// <param name="RetryAfter">How long to wait before retrying; null if retrying does not help.</param>
/// <param name="View">The generation, if there is one.</param>
[GenerateSerializer, Immutable, Alias("atelier.SubmitAnswer")]
public sealed record SubmitAnswer(
    [property: Id(0)] SubmitOutcome Outcome, [property: Id(1)] string? Message = null,
    [property: Id(2)] TimeSpan? RetryAfter = null, [property: Id(3)] GenerationView? View = null)
{
    /// <summary>Whether the generation exists and will end in a picture or a recorded failure.</summary>
    public bool IsAccepted => Outcome is SubmitOutcome.Accepted or SubmitOutcome.Exists;
}

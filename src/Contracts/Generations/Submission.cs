namespace Atelier.Contracts.Generations;

/// <summary>A request to generate.</summary>
[GenerateSerializer, Immutable, Alias("atelier.Submission")]
public sealed record Submission
{
    /// <summary>Most previews.</summary>
    public const int PreviewsMax = 3;

    /// <summary>What to generate.</summary>
    [Id(0)]
    public required GenerationSpec Spec { get; init; }

    /// <summary>The session it belongs to, if any.</summary>
    [Id(1)]
    public SessionId? Session { get; init; }

    /// <summary>Previews wanted on the way; they do not change the picture.</summary>
    [Id(2)]
    public int Previews { get; init; }

    /// <summary>The generation that this one varies, if any.</summary>
    [Id(3)]
    public GenerationId? VariationOf { get; init; }
}

/// <summary>What became of a submission.</summary>
[GenerateSerializer, Alias("atelier.SubmitOutcome")]
public enum SubmitOutcome
{
    /// <summary>Accepted: it will end in a picture or in a recorded failure.</summary>
    Accepted,

    /// <summary>This id was accepted before with the same specification: the answer is that generation's.</summary>
    Exists,

    /// <summary>This id was accepted before with another specification.</summary>
    Conflict,

    /// <summary>The specification is wrong; the message says what would be right.</summary>
    Invalid,

    /// <summary>No such model.</summary>
    UnknownModel,

    /// <summary>The queue is full.</summary>
    Busy,

    /// <summary>The tenant makes more requests a minute than it may.</summary>
    RateLimited,

    /// <summary>The tenant has as many open generations as it may.</summary>
    TooManyOpen,

    /// <summary>The tenant has used the evaluations that it may use in a day.</summary>
    DailyLimit,

    /// <summary>The id came too late, or was deleted: choose a new one.</summary>
    Gone,

    /// <summary>There is no such tenant, or it was closed.</summary>
    UnknownTenant,

    /// <summary>The tenant has as many sessions as it may.</summary>
    TooManySessions,

    /// <summary>The tenant keeps as much as it may.</summary>
    TooMuchStored,

    /// <summary>The store has no room for anything new.</summary>
    StoreFull,
}

/// <summary>Answer to a submission.</summary>
/// <param name="Outcome">Whether it was accepted.</param>
/// <param name="Message">What is wrong and what would be right, if it was not.</param>
/// <param name="RetryAfter">When to come back, if that helps.</param>
/// <param name="View">The generation, if there is one.</param>
[GenerateSerializer, Immutable, Alias("atelier.SubmitAnswer")]
public sealed record SubmitAnswer(
    [property: Id(0)] SubmitOutcome Outcome, [property: Id(1)] string? Message = null,
    [property: Id(2)] TimeSpan? RetryAfter = null, [property: Id(3)] GenerationView? View = null)
{
    /// <summary>Whether there is a generation that will end in a picture or a recorded failure.</summary>
    public bool IsAccepted => Outcome is SubmitOutcome.Accepted or SubmitOutcome.Exists;
}

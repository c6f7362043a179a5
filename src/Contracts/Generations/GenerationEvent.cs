// The events of a generation, numbered so that repeated work gives the same numbers and clients can resume.
namespace Atelier.Contracts.Generations;

/// <summary>The number of an event. Repeated work gives the same numbers.</summary>
/// <param name="Phase">Number of the phase that the event reports; all terminal phases share one number.</param>
/// <param name="Step">The step within denoising; otherwise 0.</param>
[GenerateSerializer, Immutable, Alias("atelier.EventNumber")]
public readonly record struct EventNumber([property: Id(0)] int Phase, [property: Id(1)] int Step)
    : IComparable<EventNumber>
{
    /// <summary>
    /// Maximum phase number that is accepted in text. It leaves room for phases of newer versions, whose events compare
    /// as later; see <see cref="CompareTo"/>.
    /// </summary>
    public const int PhaseMax = 999;

    /// <summary>A number before that of the first event.</summary>
    public static EventNumber Before => new(-1, 0);

    /// <summary>The number of the event for entering a phase, or for a step done in it.</summary>
    public static EventNumber Of(GenerationPhase phase, int step = 0) => new((int)phase, step);

    /// <summary>Parses the output of <see cref="ToString"/>, such as a Last-Event-ID.</summary>
    public static bool TryParse(string? text, out EventNumber number)
    {
        number = Before;
        if (text?.Split('.') is not [var phaseText, var stepText] || !TryDigits(phaseText, PhaseMax, out int phase)
            || !TryDigits(stepText, GenerationSpec.StepsMax, out int step))
        {
            return false;
        }

        number = new EventNumber(phase, step);
        return true;
    }

    /// <inheritdoc/>
    public int CompareTo(EventNumber other) =>
        Phase != other.Phase
            ? GenerationPhases.OrderOf(Phase).CompareTo(GenerationPhases.OrderOf(other.Phase))
            : Step.CompareTo(other.Step);

    /// <summary>Whether the left number comes before the right one.</summary>
    public static bool operator <(EventNumber left, EventNumber right) => left.CompareTo(right) < 0;

    /// <summary>Whether the left number comes after the right one.</summary>
    public static bool operator >(EventNumber left, EventNumber right) => left.CompareTo(right) > 0;

    /// <summary>Whether the left number does not come after the right one.</summary>
    public static bool operator <=(EventNumber left, EventNumber right) => left.CompareTo(right) <= 0;

    /// <summary>Whether the left number does not come before the right one.</summary>
    public static bool operator >=(EventNumber left, EventNumber right) => left.CompareTo(right) >= 0;

    /// <summary>Phase and step, separated by a dot.</summary>
    public override string ToString() => $"{Phase}.{Step}";

    private static bool TryDigits(string text, int max, out int value)
    {
        value = 0;
        return text.Length is > 0 and <= 4 && text.All(char.IsAsciiDigit)
            && (value = int.Parse(text, System.Globalization.CultureInfo.InvariantCulture)) <= max;
    }
}

/// <summary>
/// Something that happened to a generation. Its contents depend only on the specification and the number.
/// </summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationEvent")]
public sealed record GenerationEvent
{
    /// <summary>
    /// The message of a generation that was cancelled because its last watcher left. Stored states contain this text
    /// and <see cref="IsAbandoned"/> compares with it, so it never changes.
    /// </summary>
    public const string Abandoned = "It was cancelled because every client that waited for it had gone.";

    /// <summary>The event's number, which is also the SSE event id.</summary>
    [Id(0)]
    public required EventNumber Number { get; init; }

    /// <summary>The phase that was entered, or in which a step was done.</summary>
    [Id(1)]
    public required GenerationPhase Phase { get; init; }

    /// <summary>Steps done.</summary>
    [Id(2)]
    public int Step { get; init; }

    /// <summary>Total steps.</summary>
    [Id(3)]
    public int Steps { get; init; }

    /// <summary>Preview of the picture at this step; null if no preview was requested for this step.</summary>
    [Id(4)]
    public BlobName? Preview { get; init; }

    /// <summary>Index of the preview, from 0.</summary>
    [Id(5)]
    public int PreviewIndex { get; init; }

    /// <summary>The finished picture; null before the generation is done.</summary>
    [Id(6)]
    public BlobName? Picture { get; init; }

    /// <summary>The cause of the failure, if the generation failed.</summary>
    [Id(7)]
    public GenerationError Error { get; init; }

    /// <summary>The failure as a sentence.</summary>
    [Id(8)]
    public string? Message { get; init; }

    /// <summary>Whether this is the last event.</summary>
    public bool IsLast => Phase.IsEnded();

    /// <summary>
    /// Whether the generation was cancelled because no client waited for it anymore, and not on request.
    /// </summary>
    public bool IsAbandoned => Phase == GenerationPhase.Cancelled && Message == Abandoned;
}

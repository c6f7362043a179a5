// The phases of a generation as a table: the work that each waits for or runs, and its place in the order of events.
// The enum's numbers are only identifiers, on the wire and in stored states; no code calculates with them.
using System.Collections.Immutable;
using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>A row of the table of phases.</summary>
/// <param name="Phase">The phase.</param>
/// <param name="Kind">The work that it waits for or runs; null for a terminal phase.</param>
/// <param name="Waits">Whether the generation waits for a worker in this phase.</param>
public sealed record GenerationPhaseInfo(GenerationPhase Phase, WorkKind? Kind, bool Waits);

/// <summary>The table of phases. To add a phase, add a row at its place in the order of events.</summary>
public static class GenerationPhases
{
    private static readonly ImmutableArray<GenerationPhaseInfo> s_rows =
    [
        new(GenerationPhase.QueuedEncode, WorkKind.Encode, Waits: true),
        new(GenerationPhase.Encoding, WorkKind.Encode, Waits: false),
        new(GenerationPhase.QueuedDenoise, WorkKind.Denoise, Waits: true),
        new(GenerationPhase.Denoising, WorkKind.Denoise, Waits: false),
        new(GenerationPhase.QueuedDecode, WorkKind.Decode, Waits: true),
        new(GenerationPhase.Decoding, WorkKind.Decode, Waits: false),
        new(GenerationPhase.Done, null, Waits: false),
        new(GenerationPhase.Failed, null, Waits: false),
        new(GenerationPhase.Cancelled, null, Waits: false),
    ];

    /// <summary>All phases, in the order of events.</summary>
    public static ImmutableArray<GenerationPhaseInfo> All => s_rows;

    /// <summary>The row of a phase.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The table has no row for the phase.</exception>
    public static GenerationPhaseInfo Info(this GenerationPhase phase) =>
        OrderOf((int)phase) is var order && order >= 0 && order < s_rows.Length
        ? s_rows[order]
        : throw new ArgumentOutOfRangeException(nameof(phase), phase, "The table of phases has no row for this phase.");

    /// <summary>Whether this phase is terminal.</summary>
    public static bool IsEnded(this GenerationPhase phase) => phase.Info().Kind is null;

    /// <summary>Whether this phase comes after another one in the order of events.</summary>
    public static bool IsAfter(this GenerationPhase phase, GenerationPhase other) =>
        OrderOf((int)phase) > OrderOf((int)other);

    /// <summary>A phase and all before it, in the order of events.</summary>
    public static IEnumerable<GenerationPhase> UpTo(GenerationPhase last) =>
        s_rows.Select(row => row.Phase).TakeWhile(phase => !phase.IsAfter(last));

    /// <summary>The phase in which a generation waits for a worker of a kind.</summary>
    public static GenerationPhase WaitingFor(WorkKind kind) => s_rows.First(row => row.Kind == kind && row.Waits).Phase;

    /// <summary>The phase in which a worker of a kind does the work.</summary>
    public static GenerationPhase RunningOf(WorkKind kind) => s_rows.First(row => row.Kind == kind && !row.Waits).Phase;

    /// <summary>
    /// A phase number's place in the order of events: −1 for a negative number, and past the last row for an unknown
    /// one.
    /// </summary>
    internal static int OrderOf(int number)
    {
        for (int i = 0; i < s_rows.Length; i++)
        {
            if ((int)s_rows[i].Phase == number)
            {
                return i;
            }
        }

        return number < 0 ? -1 : s_rows.Length;
    }
}

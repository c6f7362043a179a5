// The phases of a generation as a table: the kind of work that each phase waits for or runs, and the order of the
// phases, which is the order of events and of the kinds of work. No code calculates with the enumerations' numeric
// values.
using System.Collections.Immutable;
using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>The table of phases. To add a phase, add a row at its place in the order of events.</summary>
public static class GenerationPhases
{
    private static readonly PhaseTable s_table = new(
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
    ]);

    /// <summary>All phases, in the order of events.</summary>
    public static ImmutableArray<GenerationPhaseInfo> All => s_table.Rows;

    /// <summary>The row of a phase.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The table has no row for the phase.</exception>
    public static GenerationPhaseInfo Info(this GenerationPhase phase) => s_table.Info(phase);

    /// <summary>Whether this phase is terminal.</summary>
    public static bool IsEnded(this GenerationPhase phase) => phase.Info().Kind is null;

    /// <summary>Whether this phase comes after another one in the order of events.</summary>
    public static bool IsAfter(this GenerationPhase phase, GenerationPhase other) =>
        OrderOf((int)phase) > OrderOf((int)other);

    /// <summary>Whether work of this kind comes after work of another kind, in the order of events.</summary>
    public static bool IsAfter(this WorkKind kind, WorkKind other) => s_table.OrderOf(kind) > s_table.OrderOf(other);

    /// <summary>A phase and all phases before it, in the order of events.</summary>
    public static IEnumerable<GenerationPhase> UpTo(GenerationPhase last) =>
        s_table.Rows.Select(row => row.Phase).TakeWhile(phase => !phase.IsAfter(last));

    /// <summary>The phase in which a generation waits for a worker that does this kind of work.</summary>
    public static GenerationPhase WaitingFor(WorkKind kind) =>
        s_table.Rows.First(row => row.Kind == kind && row.Waits).Phase;

    /// <summary>The phase in which a worker does this kind of work.</summary>
    public static GenerationPhase RunningOf(WorkKind kind) =>
        s_table.Rows.First(row => row.Kind == kind && !row.Waits).Phase;

    /// <summary>A phase number's place in the order of events.</summary>
    internal static int OrderOf(int number) => s_table.OrderOf(number);
}

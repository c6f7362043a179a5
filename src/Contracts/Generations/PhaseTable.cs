// The table whose rows define the order of phases. The enumerations' numeric values do not define it: they only
// identify phases and kinds of work, on the wire and in stored states, and a new value may only be appended.
using System.Collections.Immutable;
using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>A row of the table of phases.</summary>
/// <param name="Phase">The phase.</param>
/// <param name="Kind">The kind of work that the phase waits for or runs; null for a terminal phase.</param>
/// <param name="Waits">Whether the generation waits for a worker in this phase.</param>
public sealed record GenerationPhaseInfo(GenerationPhase Phase, WorkKind? Kind, bool Waits);

/// <summary>A table of phases, in the order of events.</summary>
internal sealed class PhaseTable(ImmutableArray<GenerationPhaseInfo> rows)
{
    /// <summary>All rows.</summary>
    public ImmutableArray<GenerationPhaseInfo> Rows => rows;

    /// <summary>The row of a phase.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The table has no row for the phase.</exception>
    public GenerationPhaseInfo Info(GenerationPhase phase) =>
        OrderOf((int)phase) is var order && order >= 0 && order < rows.Length
        ? rows[order]
        : throw new ArgumentOutOfRangeException(nameof(phase), phase, "The table of phases has no row for this phase.");

    /// <summary>
    /// The position of a phase number in the order of events: −1 for a negative number, and past the last row for an
    /// unknown one.
    /// </summary>
    public int OrderOf(int number)
    {
        for (int i = 0; i < rows.Length; i++)
        {
            if ((int)rows[i].Phase == number)
            {
                return i;
            }
        }

        return number < 0 ? -1 : rows.Length;
    }

    /// <summary>
    /// The position of a kind in the order of the kinds of work: past the last row for an unknown kind.
    /// </summary>
    public int OrderOf(WorkKind kind)
    {
        for (int i = 0; i < rows.Length; i++)
        {
            if (rows[i].Kind == kind)
            {
                return i;
            }
        }

        return rows.Length;
    }
}

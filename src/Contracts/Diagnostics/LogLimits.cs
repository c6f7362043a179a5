// A limit for log events that any client can cause, so that a flood of requests does not flood the log. One event of
// each kind is written per period, with the number of events since the last one.
using System.Collections.Concurrent;

namespace Atelier.Contracts.Diagnostics;

/// <summary>Decides which events of a kind are written.</summary>
/// <param name="clock">Measures the period.</param>
public sealed class LogLimits(TimeProvider clock)
{
    /// <summary>The time between two events of a kind: 10 seconds.</summary>
    public static TimeSpan Period { get; } = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<(string, string), Kind> _kinds = new();

    /// <summary>Counts an event, and returns whether it must be written.</summary>
    /// <param name="what">The event.</param>
    /// <param name="detail">
    /// The event's variant. Event and variant make up the kind. Both must be constants of the program, not parts of a
    /// request, because kinds are never removed.
    /// </param>
    /// <param name="count">Events of the kind since the last one that was written, including this one.</param>
    public bool Passes(string what, string detail, out int count)
    {
        Kind kind = _kinds.GetOrAdd((what, detail), static _ => new Kind());
        lock (kind)
        {
            kind.Count++;
            if (kind.WrittenAt is { } at && clock.GetElapsedTime(at) < Period)
            {
                count = 0;
                return false;
            }

            (count, kind.Count, kind.WrittenAt) = (kind.Count, 0, clock.GetTimestamp());
            return true;
        }
    }

    private sealed class Kind
    {
        public int Count { get; set; }

        public long? WrittenAt { get; set; }
    }
}

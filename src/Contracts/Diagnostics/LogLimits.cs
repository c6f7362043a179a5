// A bound on log events that anybody can cause: a flood of requests must not become a flood of lines. Of each kind one
// event is written in a period, with the number of events since the last one.
using System.Collections.Concurrent;

namespace Atelier.Contracts.Diagnostics;

/// <summary>Decides which events of a kind are written.</summary>
/// <param name="clock">Measures the period.</param>
public sealed class LogLimits(TimeProvider clock)
{
    /// <summary>The time between two events of a kind: 10 seconds.</summary>
    public static TimeSpan Period { get; } = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<(string, string), Kind> _kinds = new();

    /// <summary>Counts an event, and says whether it is written.</summary>
    /// <param name="what">The event.</param>
    /// <param name="detail">
    /// Its variant. Both are constants of the program: kinds are never forgotten, so nothing that a request brings
    /// belongs here.
    /// </param>
    /// <param name="count">Events of the kind since the last one that was written, this one included.</param>
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

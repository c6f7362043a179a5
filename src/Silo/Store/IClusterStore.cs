// What a silo needs of the store behind its cluster: where Orleans keeps its states, reminders and members, and a few
// questions of the silo's own.
namespace Atelier.Silo.Store;

/// <summary>The store of a cluster: a database on this machine, or a Redis.</summary>
internal interface IClusterStore : IDisposable
{
    /// <summary>Gets what may be lost although it was promised, as sentences for the log.</summary>
    IReadOnlyList<string> Warnings { get; }

    /// <summary>Gets whether this process holds the store, so that a new process may mend it.</summary>
    bool IsInProcess { get; }

    /// <summary>Gets why the store's upkeep failed when it was last tried; null if it did not.</summary>
    string? UpkeepFault => null;

    /// <summary>Has Orleans keep states, reminders and members here.</summary>
    void AddTo(ISiloBuilder silo);

    /// <summary>Writes a heartbeat. It ends when the write is as durable as any other.</summary>
    /// <exception cref="Exception">The store does not write.</exception>
    Task BeatAsync();

    /// <summary>
    /// Gives a silo that starts its generation: higher than that of every earlier start at the same endpoint, whatever
    /// the clock says.
    /// </summary>
    /// <param name="endpoint">The silo's address and port.</param>
    /// <param name="fromClock">The generation by the clock, in seconds.</param>
    Task<int> NextGenerationAsync(string endpoint, int fromClock);
}

// The store behind a cluster, as a silo uses it: Orleans keeps states, reminders and members there, and the silo makes
// a few calls of its own.
namespace Atelier.Silo.Store;

/// <summary>The store of a cluster: a database on this machine, or a Redis server.</summary>
internal interface IClusterStore : IDisposable
{
    /// <summary>Gets the ways in which accepted writes may still be lost, as sentences for the log.</summary>
    IReadOnlyList<string> Warnings { get; }

    /// <summary>Gets whether the store runs in this process, so that a restart of the process may repair it.</summary>
    bool IsInProcess { get; }

    /// <summary>Gets the reason why the store's maintenance failed the last time; null if it succeeded.</summary>
    string? UpkeepFault => null;

    /// <summary>Registers this store as Orleans' storage for states, reminders and members.</summary>
    void AddTo(ISiloBuilder silo);

    /// <summary>Writes a heartbeat. The task completes when the write is as durable as any other.</summary>
    /// <exception cref="Exception">The write failed.</exception>
    Task BeatAsync();

    /// <summary>
    /// Returns the Orleans generation for a silo that starts: higher than at every earlier start at the same endpoint,
    /// even if the clock was set back.
    /// </summary>
    /// <param name="endpoint">The silo's address and port.</param>
    /// <param name="fromClock">The generation derived from the clock, in seconds.</param>
    Task<int> NextGenerationAsync(string endpoint, int fromClock);
}

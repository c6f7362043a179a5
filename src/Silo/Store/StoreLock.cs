// The lock on a store's folder: silos share it, and a process that needs the folder for itself takes it exclusively. A
// lock is released when its process ends, in whatever way.
namespace Atelier.Silo.Store;

/// <summary>Locks on a store's folder.</summary>
internal static class StoreLock
{
    /// <summary>The file that is locked.</summary>
    public const string FileName = "lock";

    /// <summary>Takes the lock shared with other silos.</summary>
    /// <exception cref="IOException">Another process holds the lock exclusively.</exception>
    public static FileStream Share(string folder) =>
        new(Path.Combine(folder, FileName), FileMode.OpenOrCreate, FileAccess.Read, FileShare.Read);
}

// Who uses a store's folder: silos share a lock, and whoever must be alone with the folder asks for all of it. The
// locks go with their processes, however those end.
namespace Atelier.Silo.Store;

/// <summary>Locks on a store's folder.</summary>
internal static class StoreLock
{
    /// <summary>The file that is locked.</summary>
    public const string FileName = "lock";

    /// <summary>Uses the folder beside others.</summary>
    /// <exception cref="IOException">Another process wants to be alone with it.</exception>
    public static FileStream Share(string folder) =>
        new(Path.Combine(folder, FileName), FileMode.OpenOrCreate, FileAccess.Read, FileShare.Read);
}

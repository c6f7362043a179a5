// The port to files of a data set that are not all on this machine.
namespace Atelier.Model.Data.Mds;

/// <summary>A shard that will be read.</summary>
/// <param name="Shard">Index of the shard.</param>
/// <param name="Distance">Number of samples that are read before it.</param>
public readonly record struct ShardAhead(int Shard, long Distance);

/// <summary>Brings shards of a data set to a local folder. Safe for concurrent use.</summary>
public interface IShardFiles : IDisposable
{
    /// <summary>The folder that has the index, and a shard's file while it is held.</summary>
    string Folder { get; }

    /// <summary>
    /// Sets what is called with a shard's index before its file is deleted, which happens only while nobody holds it.
    /// </summary>
    void BeforeRemoval(Action<int> action);

    /// <summary>
    /// Waits until a shard's verified file is in the folder, and keeps it there until the result is disposed.
    /// </summary>
    /// <exception cref="RefusedFileException">The file cannot be brought here; the message names it.</exception>
    IDisposable Hold(int shard);

    /// <summary>Sets which shards will be read next; they are brought here in advance if there is room.</summary>
    void Foresee(IReadOnlyList<ShardAhead> shards);
}

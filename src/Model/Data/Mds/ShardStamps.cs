// What is remembered of shard files, so that a file that changes while it is used is noticed.
using System.Collections.Concurrent;

namespace Atelier.Model.Data.Mds;

/// <summary>
/// Lengths and modification times of shard files when they were first read or last verified. A process that opens data
/// sets repeatedly passes the same object each time, so that a change between two uses is noticed as well. Thread-safe.
/// </summary>
public sealed class ShardStamps
{
    private readonly ConcurrentDictionary<(string Index, string Path), Stamp> _stamps = new();

    /// <summary>Length and modification time of a file.</summary>
    internal readonly record struct Stamp(long Length, DateTime Modified)
    {
        /// <summary>The stamp of a file whose contents are known to be wrong. No file has it.</summary>
        public static Stamp Wrong { get; } = new(-1, default);

        public static Stamp Of(string path)
        {
            var file = new FileInfo(path);
            return file.Exists ? new Stamp(file.Length, file.LastWriteTimeUtc) : Wrong;
        }
    }

    /// <summary>The stamp of a file when it was last found in order; null if it was never used.</summary>
    /// <param name="index">SHA-256 of the index that lists the file.</param>
    /// <param name="path">The file.</param>
    internal Stamp? Find(string index, string path) =>
        _stamps.TryGetValue((index, path), out Stamp stamp) ? stamp : null;

    /// <summary>Records the stamp of a file.</summary>
    internal void Record(string index, string path, Stamp stamp) => _stamps[(index, path)] = stamp;
}

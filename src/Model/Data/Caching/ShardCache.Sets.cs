// The part of the cache that a data set sees.
using Atelier.Model.Data.Mds;

namespace Atelier.Model.Data.Caching;

public sealed partial class ShardCache
{
    // An open data set. The files of its index are numbered like the shards.
    private sealed class StoredSet : IShardFiles
    {
        private readonly ShardCache _cache;
        private readonly DataManifest _manifest;
        private DataFile[] _shards = [];
        private Action<int> _beforeRemoval = _ => { };

        public StoredSet(ShardCache cache, string digest, DataManifest manifest)
        {
            (_cache, Digest, _manifest) = (cache, digest, manifest);
            Folder = Path.Combine(cache._folder, digest);
        }

        public string Digest { get; }

        public string Folder { get; }

        /// <summary>The name of a file, for messages.</summary>
        public string NameOf(string file) => $"{DataManifest.Scheme}{Digest}/{file}";

        /// <summary>Matches the index, which is in the folder, with the manifest.</summary>
        public void Match(MdsIndex index)
        {
            Dictionary<string, DataFile> files = _manifest.Files.ToDictionary(
                file => file.Name, StringComparer.Ordinal);
            _shards =
            [
                .. index.Shards.Select(shard => files.GetValueOrDefault(shard.Stored.Basename) is { } file
                    && file.Length == shard.Stored.Bytes ? file : throw new RefusedFileException(
                        NameOf(shard.Stored.Basename), "file", "is in the data set's index, but not in its manifest.")),
            ];
        }

        public DataFile Find(string name) => _shards.First(file => file.Name == name);

        public void BeforeRemoval(Action<int> action) => _beforeRemoval = action;

        public void Remove(string name)
        {
            for (int i = 0; i < _shards.Length; i++)
            {
                if (_shards[i].Name == name)
                {
                    _beforeRemoval(i);
                }
            }
        }

        public IDisposable Hold(int shard) => _cache.Hold(this, _shards[shard]);

        public void Foresee(IReadOnlyList<ShardAhead> shards)
        {
            lock (_cache._gate)
            {
                _cache._policy.Foresee(this, shards.Select(one => new FileAhead(
                    new CachedFile(Digest, _shards[one.Shard].Name), _shards[one.Shard].Length, one.Distance)));
                _cache.Advance();
            }
        }

        public void Dispose()
        {
            lock (_cache._gate)
            {
                _cache._policy.Forget(this);
                _cache._open.Remove(this);
            }
        }
    }
}

// Shards whose samples are read before the device is borrowed: the data may have to be fetched first.
using Atelier.Model.Training;

namespace Atelier.Silo.Training;

/// <summary>A source of shards that were prepared before. Not thread-safe.</summary>
internal sealed class ReadShards(SeededShards source) : IShardSource
{
    private readonly Dictionary<(long Step, int Shard), Func<ShardBatch>> _prepared = [];

    /// <summary>Reads the samples of shards without tensors; earlier ones that were not computed are dropped.</summary>
    public void Prepare(long step, IEnumerable<int> shards)
    {
        _prepared.Clear();
        foreach (int shard in shards)
        {
            _prepared[(step, shard)] = source.Draw(step, shard);
        }
    }

    /// <inheritdoc/>
    public ShardBatch Read(long step, int shard) =>
        _prepared.Remove((step, shard), out Func<ShardBatch>? batch)
            ? batch() : throw new InvalidOperationException($"Shard {shard} of batch {step} was not prepared.");
}

// The process around a replica: its device, its connections and its weights.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>What a replica needs of the process around it.</summary>
/// <typeparam name="T">The values of a slice.</typeparam>
public interface IReplicaHost<T>
    where T : class
{
    /// <summary>Sends a frame to a peer; it may be lost only with the connection.</summary>
    void Send(TrainerId to, Frame frame);

    /// <summary>Begins to compute a shard; the result goes to <see cref="Replica{T}.Computed"/>.</summary>
    /// <param name="world">The world, to be given back.</param>
    /// <param name="step">The step.</param>
    /// <param name="shard">The shard.</param>
    /// <param name="slices">Slices into which the result is cut.</param>
    void Compute(int world, long step, int shard, int slices);

    /// <summary>Applies the totals of a step to the weights.</summary>
    void Apply(long step, ImmutableArray<T> totals);

    /// <summary>A copy of the state as it is now.</summary>
    object Copy();

    /// <summary>Replaces the state by a copy of a peer's.</summary>
    void Load(object state);

    /// <summary>Begins to read a committed checkpoint; it goes to <see cref="Replica{T}.Restored"/>.</summary>
    void Restore(long step);
}

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

    /// <summary>Begins to compute a shard again; the result goes to <see cref="Replica{T}.Verified"/>.</summary>
    /// <param name="world">The world, to be given back.</param>
    /// <param name="step">The step, the one after those in the weights.</param>
    /// <param name="shard">The shard.</param>
    /// <param name="isTrial">To be given back.</param>
    void Verify(int world, long step, int shard, bool isTrial);

    /// <summary>
    /// Decides about a step, which <see cref="Apply"/> then carries out, and says which shards must be verified before.
    /// </summary>
    /// <param name="step">The step.</param>
    /// <param name="totals">Its totals.</param>
    /// <param name="all">Whether all shards must be.</param>
    /// <returns>The claims in the totals that must be verified; the same for all replicas.</returns>
    ImmutableArray<ShardClaim> Review(long step, ImmutableArray<T> totals, bool all);

    /// <summary>
    /// Whether the step that was reviewed last can be applied now; once it can, the host calls
    /// <see cref="Replica{T}.Continue"/>.
    /// </summary>
    bool CanApply();

    /// <summary>Applies the totals of a step to the weights.</summary>
    void Apply(long step, ImmutableArray<T> totals);

    /// <summary>A part of a copy of the state as it is now.</summary>
    /// <param name="part">The part.</param>
    /// <param name="parts">Number of parts.</param>
    object Copy(int part, int parts);

    /// <summary>Replaces the state by a copy, in parts that may come from different peers.</summary>
    /// <param name="parts">All parts, as the peers' <see cref="Copy"/> gave them.</param>
    /// <returns>False if they are not of one state; nothing has changed then.</returns>
    bool LoadParts(IReadOnlyList<object> parts);

    /// <summary>Replaces the state by a checkpoint.</summary>
    void Load(object state);

    /// <summary>Begins to read a committed checkpoint; it goes to <see cref="Replica{T}.Restored"/>.</summary>
    void Restore(long step);
}

// The port from a replica to the process around it: the device, the connections and the weights.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>The operations that a replica needs from the process around it.</summary>
/// <typeparam name="T">Type of a slice's values.</typeparam>
public interface IReplicaHost<T>
    where T : class
{
    /// <summary>Sends a frame to a peer. The frame is lost only if the connection ends.</summary>
    void Send(TrainerId to, Frame frame);

    /// <summary>Starts computing a shard; the result is passed to <see cref="Replica{T}.Computed"/>.</summary>
    /// <param name="world">Number of the world, which is returned with the result.</param>
    /// <param name="step">The step.</param>
    /// <param name="shard">The shard.</param>
    /// <param name="slices">Number of slices into which the result is cut.</param>
    void Compute(int world, long step, int shard, int slices);

    /// <summary>Starts computing a shard again; the result is passed to <see cref="Replica{T}.Verified"/>.</summary>
    /// <param name="world">Number of the world, which is returned with the result.</param>
    /// <param name="step">The step, which is the next one to apply.</param>
    /// <param name="shard">The shard.</param>
    /// <param name="isTrial">Whether the result is for a trial; the value is returned with the result.</param>
    void Verify(int world, long step, int shard, bool isTrial);

    /// <summary>
    /// Decides about a step and returns the shards that must be verified before <see cref="Apply"/> carries out the
    /// decision.
    /// </summary>
    /// <param name="step">The step.</param>
    /// <param name="totals">The totals of the step's slices.</param>
    /// <param name="all">Whether all shards must be verified.</param>
    /// <returns>The claims in the totals that must be verified; the same for all replicas.</returns>
    ImmutableArray<ShardClaim> Review(long step, ImmutableArray<T> totals, bool all);

    /// <summary>
    /// Whether the step that was reviewed last can be applied now; once it can, the host calls
    /// <see cref="Replica{T}.Continue"/>.
    /// </summary>
    bool CanApply();

    /// <summary>Carries out the decision about the step that was reviewed last.</summary>
    void Apply(long step, ImmutableArray<T> totals);

    /// <summary>Returns one part of a copy of the current state.</summary>
    /// <param name="part">Index of the part.</param>
    /// <param name="parts">Number of parts.</param>
    object Copy(int part, int parts);

    /// <summary>Replaces the state with a copy, whose parts may come from different peers.</summary>
    /// <param name="parts">All parts, as the peers' <see cref="Copy"/> returned them.</param>
    /// <returns>False if the parts do not belong to one state; nothing has changed then.</returns>
    bool LoadParts(IReadOnlyList<object> parts);

    /// <summary>Replaces the state with a checkpoint.</summary>
    void Load(object state);

    /// <summary>
    /// Starts reading a committed checkpoint; the result is passed to <see cref="Replica{T}.Restored"/>.
    /// </summary>
    void Restore(long step);
}

// The exchange of gradients between the processes that compute a batch. The sums of shards are added along one tree
// (ReductionTree), whichever process computed them, so that every exchange gives the same bits.
namespace Atelier.Model.Training;

/// <summary>Computes the shards of a batch, in one or more processes, and adds them up.</summary>
public interface IGradientExchange
{
    /// <summary>
    /// Computes the gradient and loss sums of all shards of a batch. The caller applies or disposes them.
    /// </summary>
    GradientSum Sum(long step);
}

/// <summary>The exchange of a single process, which computes all shards itself.</summary>
/// <param name="engine">Engine that computes the shards.</param>
public sealed class LocalExchange(TrainingEngine engine) : IGradientExchange
{
    /// <inheritdoc/>
    public GradientSum Sum(long step) => engine.ComputeBatch(step);
}

// How the shards of a batch come together. No matter which process computes them, their sums meet along one tree
// (ReductionTree), so that every exchange gives the same bits.
namespace Atelier.Model.Training;

/// <summary>Computes the shards of a batch, wherever, and adds them up.</summary>
public interface IGradientExchange
{
    /// <summary>Gradient and loss sums of all shards of a batch. The caller applies or disposes them.</summary>
    GradientSum Sum(long step);
}

/// <summary>One process that computes all shards itself.</summary>
/// <param name="engine">Computes them.</param>
public sealed class LocalExchange(TrainingEngine engine) : IGradientExchange
{
    /// <inheritdoc/>
    public GradientSum Sum(long step) => engine.ComputeBatch(step);
}

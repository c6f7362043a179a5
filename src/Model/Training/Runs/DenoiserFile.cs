// A stage's weights as the denoiser's file of a model folder: the network's state dict instead of one long vector.
using System.Globalization;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using TorchSharp.Modules;

namespace Atelier.Model.Training.Runs;

/// <summary>Writes the weights of a checkpoint as a file that a model folder can hold.</summary>
/// <param name="config">The stage.</param>
public sealed class DenoiserFile(StageConfig config) : IDisposable
{
    private readonly MicroDiT _network = new(config.Network);

    /// <summary>Number of weights, P.</summary>
    public long Parameters => FlatParameters.Ordered(_network).Sum(one => one.Parameter.numel());

    /// <summary>Writes the file.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="weights">The weights in the order of <see cref="FlatParameters"/>, [P].</param>
    /// <param name="steps">Number of steps that the weights include.</param>
    /// <exception cref="ArgumentException">The number of weights differs from the network's.</exception>
    public void Write(string path, float[] weights, long steps)
    {
        if (weights.LongLength != Parameters)
        {
            throw new ArgumentException(
                $"{config.Name} has {Parameters} weights, not {weights.LongLength}.", nameof(weights));
        }

        int start = 0;
        foreach ((_, Parameter parameter) in FlatParameters.Ordered(_network))
        {
            int count = checked((int)parameter.numel());
            TensorPieces.Write(weights.AsSpan(start, count), parameter);
            start += count;
        }

        StateDictFile.Save(_network, path, metadata: new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["stage"] = config.Name, ["steps"] = steps.ToString(CultureInfo.InvariantCulture),
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _network.Dispose();
}

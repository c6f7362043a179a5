// What the small trainings share: float32 master weights behind a network that may compute in bfloat16, their average, the
// optimizer, and all of it in one checkpoint.
using Atelier.Model;
using Atelier.Model.Training;
using Atelier.Model.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>A network with all that its training carries from step to step. For one thread.</summary>
internal sealed class NetworkInTraining : IDisposable
{
    private const string StepKey = "step", UpdatesKey = "updates";

    private readonly FlatParameters _flat;
    private readonly AdamW _optimizer;
    private readonly Tensor _weights;
    private readonly Tensor _average;
    private readonly double _smoothing;
    private readonly string _recipe;

    /// <summary>Takes over a network's weights, in the precision in which it is to compute.</summary>
    /// <param name="network">Network with its initial weights in float32; it stays the caller's.</param>
    /// <param name="compute">Precision to compute in.</param>
    /// <param name="optimizer">Numbers of the optimizer.</param>
    /// <param name="smoothing">Smoothing s of the average: W ← s W + (1 - s) w after each step.</param>
    /// <param name="recipe">Identity of the training, which a checkpoint must share: its settings as JSON.</param>
    /// <exception cref="ArgumentException">The network is not in float32.</exception>
    public NetworkInTraining(nn.Module network, ScalarType compute, AdamWSettings optimizer, double smoothing, string recipe)
    {
        (_smoothing, _recipe) = (smoothing, recipe);
        using var noGradients = no_grad();
        var initial = new FlatParameters(network);
        if (compute == ScalarType.Float32)
        {
            (_flat, _weights) = (initial, initial.Values);
        }
        else
        {
            _weights = initial.Values.clone().DetachFromDisposeScope();
            initial.Dispose();
            network.to(compute);
            _flat = new FlatParameters(network);
        }

        _average = _weights.clone().DetachFromDisposeScope();
        _optimizer = new AdamW(optimizer, _weights);
    }

    /// <summary>Steps made.</summary>
    public long Step { get; private set; }

    /// <summary>Sets all gradients to zero, before the backward passes of a step.</summary>
    public void ClearGradients()
    {
        using var noGradients = no_grad();
        _flat.Gradients.zero_();
    }

    /// <summary>
    /// Ends a step: the gradients are cut to a norm and the weights follow them. Where a gradient is not finite the
    /// weights stay as they are.
    /// </summary>
    public void Update(double learningRate, double clipNorm)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        Tensor gradient = _flat.Gradients.to(ScalarType.Float32);
        double norm = linalg.norm(gradient).item<float>();
        if (double.IsFinite(norm))
        {
            gradient.mul_((float)Math.Min(1, clipNorm / (norm + 1e-6)));
            _optimizer.Update(_weights, gradient, learningRate);

            // In the first steps the average is that of few weights, or it would be the initial ones for long.
            double smoothing = Math.Min(_smoothing, (Step + 1.0) / (Step + 10.0));
            _average.lerp_(_weights, 1 - smoothing);
            Refresh(_weights);
        }

        Step++;
    }

    /// <summary>Keeps the elements of a parameter from growing beyond a bound.</summary>
    public void Bound(string name, double most)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        foreach (Tensor flat in new[] { _weights, _average, _flat.Values })
        {
            _flat.Views(flat).First(view => view.Name == name).View.clamp_max_(most);
        }
    }

    /// <summary>Copies the averaged weights into a network of the same shape.</summary>
    public void CopyAverageTo(nn.Module network)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        var parameters = network.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter, StringComparer.Ordinal);
        foreach ((string name, Tensor view) in _flat.Views(_average))
        {
            parameters[name].copy_(view);
        }
    }

    /// <summary>Writes a checkpoint, aside first and then renamed.</summary>
    public void Save(string path)
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [StepKey] = $"{Step}",
            [UpdatesKey] = $"{_optimizer.Updates}",
            [PartRecipe.Key] = _recipe,
        };
        (string Name, Tensor Value)[] state = [.. State];
        using var writer = new SafeTensorsWriter(
            path, state.Select(s => new TensorInfo(s.Name, ElementType.Float32, s.Value.shape)), metadata);
        foreach (TensorInfo due in writer.Order)
        {
            writer.Append(due.Name, Array.Find(state, s => s.Name == due.Name).Value.bytes);
        }

        writer.Commit();
    }

    /// <summary>Goes on from a checkpoint, if there is one.</summary>
    /// <exception cref="RefusedFileException">The file is damaged, or of another training.</exception>
    public void Restore(string path)
    {
        if (!File.Exists(path))
        {
            return;
        }

        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        PartRecipe.Check(path, file.Metadata.GetValueOrDefault(PartRecipe.Key), _recipe);
        if (!long.TryParse(file.Metadata.GetValueOrDefault(StepKey), out long step)
            || !long.TryParse(file.Metadata.GetValueOrDefault(UpdatesKey), out long updates))
        {
            throw new RefusedFileException(path, StepKey, "or the number of updates is missing.");
        }

        foreach ((string name, Tensor value) in State)
        {
            file.Read(name, 0, value.bytes);
        }

        (Step, _optimizer.Updates) = (step, updates);
        Refresh(_weights);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _optimizer.Dispose();
        _average.Dispose();
        _weights.Dispose();
        _flat.Dispose();
    }

    private IEnumerable<(string Name, Tensor Value)> State =>
    [
        ("average", _average), ("first_moment", _optimizer.FirstMoment), ("second_moment", _optimizer.SecondMoment),
        ("weights", _weights),
    ];

    private void Refresh(Tensor weights)
    {
        if (!ReferenceEquals(weights, _flat.Values))
        {
            using var noGradients = no_grad();
            _flat.Values.copy_(weights);
        }
    }
}

// What every training carries from step to step: float32 weights behind a network that may compute in bfloat16, their
// average, the moments of the optimizer, and the one way in which a gradient changes them.
using Atelier.Model.Weights;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Training;

/// <summary>How weights are averaged over the steps: W_avg ← s W_avg + (1 - s) W after each.</summary>
/// <param name="Smoothing">The smoothing s, in [0, 1].</param>
/// <param name="Start">
/// Steps after which the average starts as a copy of the weights: 0 starts from the initial weights; 1 is what Composer
/// does with an ema_start of 0.
/// </param>
/// <param name="Ramps">
/// Whether step k, from 0, has no more smoothing than (k + 1) / (k + 10), so that the average of a short training is
/// not mostly the initial weights.
/// </param>
public sealed record AverageSettings(double Smoothing, long Start = 0, bool Ramps = false)
{
    /// <summary>The smoothing s of a step, from 0; 0 before the average starts.</summary>
    public double At(long step) =>
        step < Start ? 0
        : Ramps ? Math.Min(Smoothing, (step + 1.0) / (step + 10.0))
        : Smoothing;
}

/// <summary>How a gradient changes the weights.</summary>
public sealed record UpdateSettings
{
    /// <summary>Optimizer.</summary>
    public AdamWSettings Optimizer { get; init; } = new();

    /// <summary>Gradients longer than this are scaled down to it.</summary>
    public double ClipNorm { get; init; } = double.PositiveInfinity;

    /// <summary>The average of the weights; null if none is kept.</summary>
    public AverageSettings? Average { get; init; }
}

/// <summary>Names of the tensors of a training's state in a file.</summary>
/// <param name="Weights">The weights.</param>
/// <param name="Average">Their average.</param>
/// <param name="FirstMoment">First moment of the optimizer.</param>
/// <param name="SecondMoment">Second moment.</param>
public sealed record StateNames(string Weights, string Average, string FirstMoment, string SecondMoment);

/// <summary>
/// Weights, average and moments of a network in training, [P] float32 each. Not for use by two threads at once.
/// </summary>
public sealed class MasterWeights : IDisposable
{
    private readonly UpdateSettings _settings;

    /// <summary>Takes over a network's weights, in the precision in which it is to compute.</summary>
    /// <param name="network">Network with its initial weights in float32; it stays the caller's.</param>
    /// <param name="compute">Precision to compute in: float32 or bfloat16.</param>
    /// <param name="settings">How a gradient changes the weights.</param>
    /// <exception cref="ArgumentException">The network is not in float32.</exception>
    public MasterWeights(Module network, ScalarType compute, UpdateSettings settings)
    {
        if (network.parameters().FirstOrDefault(parameter => parameter.dtype != ScalarType.Float32) is { } other)
        {
            throw new ArgumentException(
                $"Master weights are float32, not {other.dtype}; the precision of computing is a choice of its own.",
                nameof(network));
        }

        _settings = settings;
        using var noGradients = no_grad();
        if (compute == ScalarType.Float32)
        {
            Computing = new FlatParameters(network);
            Weights = Computing.Values;
        }
        else
        {
            // The master weights are taken before the network loses their precision.
            using var exact = new FlatParameters(network);
            Weights = exact.Values.clone().DetachFromDisposeScope();
            network.to(compute);
            Computing = new FlatParameters(network);
        }

        Average = settings.Average is null ? null : Weights.detach().clone().DetachFromDisposeScope();
        Optimizer = new AdamW(settings.Optimizer, Weights);
    }

    /// <summary>Master weights, [P] float32.</summary>
    public Tensor Weights { get; }

    /// <summary>Average of the weights, [P] float32, if one is kept.</summary>
    public Tensor? Average { get; }

    /// <summary>First and second moments, [P] each, and updates made.</summary>
    public AdamW Optimizer { get; }

    /// <summary>
    /// What the network computes with, and its gradients; in float32 the values are the master weights.
    /// </summary>
    public FlatParameters Computing { get; }

    /// <summary>Views of a flat tensor [P] by parameter name. The caller disposes them.</summary>
    public IEnumerable<(string Name, Tensor View)> Named(Tensor flat) => Computing.Views(flat);

    /// <summary>
    /// One step: the mean gradient is cut to the clip norm, the weights follow it, and the average follows them.
    /// </summary>
    /// <param name="step">The step, from 0.</param>
    /// <param name="gradient">Sum of the samples' gradients, [P] float32; it is changed.</param>
    /// <param name="samples">Samples in the sum.</param>
    /// <param name="norm">2-norm of the mean gradient.</param>
    /// <param name="learningRate">Learning rate.</param>
    public void Update(long step, Tensor gradient, long samples, double norm, double learningRate)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();

        // clip_grad_norm_: g ← g min(1, c / (|g| + 1e-6)), here together with the division by the batch.
        double clip = Math.Min(1, _settings.ClipNorm / (norm + 1e-6));
        gradient.mul_((float)(clip / samples));
        Optimizer.Update(Weights, gradient, learningRate);
        if (Average is not null)
        {
            // Before the average starts it is the weights, so that it begins with the last ones even where the step
            // before was skipped.
            double smoothing = _settings.Average!.At(step);
            _ = smoothing == 0 ? Average.copy_(Weights) : Average.lerp_(Weights, 1 - smoothing);
        }

        Refresh();
    }

    /// <summary>Gives the network the master weights, after they were changed from outside.</summary>
    public void Refresh()
    {
        if (!ReferenceEquals(Weights, Computing.Values))
        {
            using var noGradients = no_grad();
            Computing.Values.copy_(Weights);
        }
    }

    /// <summary>Keeps the elements of a parameter from growing beyond a bound, in the average too.</summary>
    public void Bound(string name, double most)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        foreach (Tensor flat in new[] { Weights, Average, Computing.Values }.OfType<Tensor>())
        {
            Named(flat).First(view => view.Name == name).View.clamp_max_(most);
        }
    }

    /// <summary>
    /// Copies the averaged weights, or the weights where no average is kept, into a network of the same shape.
    /// </summary>
    public void CopyAverageTo(Module network)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        Dictionary<string, Parameter> parameters =
            network.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter, StringComparer.Ordinal);
        foreach ((string name, Tensor view) in Named(Average ?? Weights))
        {
            parameters[name].copy_(view);
        }
    }

    /// <summary>
    /// Puts the averaged weights into the network for as long as the result lives, if an average is kept.
    /// </summary>
    public IDisposable WithAverage() => new AverageInPlace(this);

    /// <summary>Writes all of it into one safetensors file, aside first and then renamed.</summary>
    /// <param name="path">The file.</param>
    /// <param name="names">Names of the tensors in it.</param>
    /// <param name="metadata">What else the file says; the number of updates must be in it.</param>
    public void Save(string path, StateNames names, IReadOnlyDictionary<string, string> metadata)
    {
        Dictionary<string, Tensor> state = State(names);
        using var writer = new SafeTensorsWriter(
            path, state.Select(t => new TensorInfo(t.Key, ElementType.Float32, t.Value.shape)), metadata);
        foreach (TensorInfo info in writer.Order)
        {
            using Tensor local = state[info.Name].detach().cpu();
            writer.Append(info.Name, local.bytes);
        }

        writer.Commit();
    }

    /// <summary>Restores all of it from a file. One that lacks a tensor changes nothing.</summary>
    /// <param name="path">Path of the file, for refusals.</param>
    /// <param name="file">The file.</param>
    /// <param name="names">Names of the tensors in it.</param>
    /// <param name="updates">Updates of the optimizer so far.</param>
    /// <exception cref="RefusedFileException">A tensor is missing or has another shape or type.</exception>
    public void Restore(string path, SafeTensorsFile file, StateNames names, long updates)
    {
        Dictionary<string, Tensor> state = State(names);
        foreach ((string name, Tensor tensor) in state)
        {
            if (!file.Tensors.TryGetValue(name, out TensorInfo? info) || !info.Shape.SequenceEqual(tensor.shape)
                || info.Type != ElementType.Float32)
            {
                throw new RefusedFileException(
                    path, name, $"is missing or is not F32 [{string.Join(", ", tensor.shape)}].");
            }
        }

        using IDisposable noGradients = no_grad();
        foreach ((string name, Tensor tensor) in state)
        {
            using Tensor staged = empty(tensor.shape);
            file.ReadInto(name, staged.bytes);
            tensor.copy_(staged);
        }

        Optimizer.Updates = updates;
        Refresh();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Optimizer.Dispose();
        Average?.Dispose();
        Weights.Dispose();
        Computing.Dispose();
    }

    private Dictionary<string, Tensor> State(StateNames names)
    {
        var state = new Dictionary<string, Tensor>(StringComparer.Ordinal)
        {
            [names.Weights] = Weights,
            [names.FirstMoment] = Optimizer.FirstMoment,
            [names.SecondMoment] = Optimizer.SecondMoment,
        };
        if (Average is not null)
        {
            state[names.Average] = Average;
        }

        return state;
    }

    private sealed class AverageInPlace : IDisposable
    {
        private readonly MasterWeights _master;
        private readonly Tensor? _kept;

        public AverageInPlace(MasterWeights master)
        {
            _master = master;
            if (master.Average is not null)
            {
                using var noGradients = no_grad();
                _kept = master.Weights.detach().clone().DetachFromDisposeScope();
                master.Weights.copy_(master.Average);
                master.Refresh();
            }
        }

        public void Dispose()
        {
            if (_kept is not null)
            {
                using var noGradients = no_grad();
                _master.Weights.copy_(_kept);
                _master.Refresh();
                _kept.Dispose();
            }
        }
    }
}

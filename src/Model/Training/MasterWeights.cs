// The state that training carries from step to step: the float32 weights of a network that may compute in bfloat16,
// their average, and the optimizer's moments. A gradient changes this state only through Update.
using Atelier.Model.Weights;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Training;

/// <summary>The moving average of the weights: W_avg ← s W_avg + (1 - s) W after each step.</summary>
/// <param name="Smoothing">The smoothing s, in [0, 1].</param>
/// <param name="Start">
/// Number of steps after which the average starts as a copy of the weights: 0 starts from the initial weights; 1 is
/// Composer's behavior for an ema_start of 0.
/// </param>
/// <param name="Ramps">
/// Whether to cap the smoothing of step k, counted from 0, at (k + 1) / (k + 10), so that the initial weights do not
/// dominate the average of a short training run.
/// </param>
public sealed record AverageSettings(double Smoothing, long Start = 0, bool Ramps = false)
{
    /// <summary>
    /// The smoothing s of a step, where steps count from 0; the result is 0 before the average starts.
    /// </summary>
    public double At(long step) =>
        step < Start ? 0
        : Ramps ? Math.Min(Smoothing, (step + 1.0) / (step + 10.0))
        : Smoothing;
}

/// <summary>Settings of an update of the weights.</summary>
public sealed record UpdateSettings
{
    /// <summary>Settings of the optimizer.</summary>
    public AdamWSettings Optimizer { get; init; } = new();

    /// <summary>Maximum 2-norm of a gradient. Gradients with a larger norm are scaled down to it.</summary>
    public double ClipNorm { get; init; } = double.PositiveInfinity;

    /// <summary>The average of the weights; null if none is kept.</summary>
    public AverageSettings? Average { get; init; }
}

/// <summary>Names of the tensors of a training state in a file.</summary>
/// <param name="Weights">The weights.</param>
/// <param name="Average">The average of the weights.</param>
/// <param name="FirstMoment">First moment of the optimizer.</param>
/// <param name="SecondMoment">Second moment of the optimizer.</param>
public sealed record StateNames(string Weights, string Average, string FirstMoment, string SecondMoment);

/// <summary>Weights, average and moments of a network in training, [P] float32 each. Not thread-safe.</summary>
public sealed class MasterWeights : IDisposable
{
    private readonly UpdateSettings _settings;

    /// <summary>
    /// Takes a network's weights as master weights, and converts the network to the precision in which it computes.
    /// </summary>
    /// <param name="network">Network with its initial weights in float32; the caller keeps ownership.</param>
    /// <param name="compute">Precision to compute in: float32 or bfloat16.</param>
    /// <param name="settings">Settings of an update.</param>
    /// <exception cref="ArgumentException">The network is not in float32.</exception>
    public MasterWeights(Module network, ScalarType compute, UpdateSettings settings)
    {
        if (network.parameters().FirstOrDefault(parameter => parameter.dtype != ScalarType.Float32) is { } other)
        {
            throw new ArgumentException(
                $"Master weights must be float32, not {other.dtype}; the network may compute in another precision.",
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
            // The master weights are copied before the network is converted to the lower precision.
            using var exact = new FlatParameters(network);
            Weights = exact.Values.clone().DetachFromDisposeScope();
            network.to(compute);
            Computing = new FlatParameters(network);
        }

        Average = settings.Average is null ? null : Weights.clone().DetachFromDisposeScope();
        Optimizer = new AdamW(settings.Optimizer, Weights);
    }

    /// <summary>Master weights, [P] float32.</summary>
    public Tensor Weights { get; }

    /// <summary>Average of the weights, [P] float32; null if none is kept.</summary>
    public Tensor? Average { get; }

    /// <summary>First and second moments, [P] each, and the number of updates.</summary>
    public AdamW Optimizer { get; }

    /// <summary>
    /// The network's parameters and gradients in its own precision; in float32 the parameters are the master weights.
    /// </summary>
    public FlatParameters Computing { get; }

    /// <summary>Views of a flat tensor [P] by parameter name. The caller disposes them.</summary>
    public IEnumerable<(string Name, Tensor View)> Named(Tensor flat) => Computing.Views(flat);

    /// <summary>
    /// Makes one step: clips the mean gradient, updates the weights with it, and then updates the average.
    /// </summary>
    /// <param name="step">The step, from 0.</param>
    /// <param name="gradient">Sum of the samples' gradients, [P] float32; it is modified.</param>
    /// <param name="samples">Number of samples in the sum.</param>
    /// <param name="norm">2-norm of the mean gradient.</param>
    /// <param name="learningRate">Learning rate of the update.</param>
    public void Update(long step, Tensor gradient, long samples, double norm, double learningRate)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();

        // clip_grad_norm_: g ← g min(1, c / (|g| + 1e-6)), combined with the division by the batch size.
        double clip = Math.Min(1, _settings.ClipNorm / (norm + 1e-6));
        gradient.mul_((float)(clip / samples));
        Optimizer.Update(Weights, gradient, learningRate);
        if (Average is not null)
        {
            // Before the average starts, it equals the weights, so that it starts from the latest weights even if the
            // step before was skipped.
            double smoothing = _settings.Average!.At(step);
            _ = smoothing == 0 ? Average.copy_(Weights) : Average.lerp_(Weights, 1 - smoothing);
        }

        Refresh();
    }

    /// <summary>Returns to the state in which training begins.</summary>
    /// <param name="initial">
    /// A network of the same architecture with the initial weights in float32; its parameters are moved.
    /// </param>
    public void Reset(Module initial)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        using var exact = new FlatParameters(initial);
        Weights.copy_(exact.Values);
        Average?.copy_(Weights);
        Optimizer.FirstMoment.zero_();
        Optimizer.SecondMoment.zero_();
        Optimizer.Updates = 0;
        Refresh();
    }

    /// <summary>Copies the master weights to the network after an external change.</summary>
    public void Refresh()
    {
        if (!ReferenceEquals(Weights, Computing.Values))
        {
            using var noGradients = no_grad();
            Computing.Values.copy_(Weights);
        }
    }

    /// <summary>Limits the elements of a parameter, and of its average, to an upper bound.</summary>
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
    /// Copies the averaged weights, or the weights if no average is kept, into a network of the same architecture.
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
    /// If an average is kept, puts the averaged weights into the network until the result is disposed.
    /// </summary>
    public IDisposable WithAverage() => new AverageInPlace(this);

    /// <summary>Writes the whole state to one safetensors file, through a temporary file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="names">Names of the tensors in the file.</param>
    /// <param name="metadata">Metadata of the file; it must contain the number of updates.</param>
    public void Save(string path, StateNames names, IReadOnlyDictionary<string, string> metadata)
    {
        Dictionary<string, Tensor> state = State(names);
        using var writer = new SafeTensorsWriter(
            path, state.Select(t => new TensorInfo(t.Key, ElementType.Float32, t.Value.shape)), metadata);
        foreach (TensorInfo info in writer.Order)
        {
            writer.Append(info.Name, state[info.Name]);
        }

        writer.Commit();
    }

    /// <summary>Restores the whole state from a file. If the file lacks a tensor, nothing changes.</summary>
    /// <param name="path">Path of the file, for error messages.</param>
    /// <param name="file">The file.</param>
    /// <param name="names">Names of the tensors in the file.</param>
    /// <param name="updates">Number of optimizer updates so far.</param>
    /// <exception cref="RefusedFileException">A tensor is missing or has the wrong shape or type.</exception>
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
            foreach ((long first, Tensor piece) in TensorPieces.Of(tensor))
            {
                using (piece)
                using (Tensor staged = empty(piece.shape))
                {
                    file.Read(name, first * sizeof(float), staged.bytes);
                    piece.copy_(staged);
                }
            }
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
                _kept = master.Weights.clone().DetachFromDisposeScope();
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

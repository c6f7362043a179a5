// Linear probes (Alain & Bengio 2016, arXiv 1610.01644): whether states hold a fact in a form that a linear layer can
// read.
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Shapes.Evaluating;

/// <summary>A multinomial logistic regression on states. Symbols: N states, D features, V values.</summary>
internal sealed class LinearProbe : IDisposable
{
    private const int Iterations = 400;
    private const double Rate = 0.05, Decay = 1e-4;

    private readonly Tensor _mean, _scale, _weights, _biases;

    /// <summary>Fits a probe to standardized states.</summary>
    /// <param name="states">[N, D] float32.</param>
    /// <param name="facts">[N] int64, each below <paramref name="values"/>.</param>
    /// <param name="values">Number of values of the fact.</param>
    public LinearProbe(Tensor states, Tensor facts, int values)
    {
        using var scope = NewDisposeScope();
        _mean = states.mean([0]).MoveToOuterDisposeScope();
        _scale = states.std(0, unbiased: false).add(1e-6).MoveToOuterDisposeScope();
        var weights = new Parameter(zeros(states.shape[1], values));
        var biases = new Parameter(zeros(values));
        Tensor standard = (states - _mean) / _scale;
        using (set_grad_enabled(true))
        {
            using var optimizer = optim.Adam([weights, biases], Rate);
            for (int i = 0; i < Iterations; i++)
            {
                using var step = NewDisposeScope();
                optimizer.ParamGroups.First().LearningRate = Rate * (1 + Math.Cos(Math.PI * i / Iterations)) / 2;
                optimizer.zero_grad();
                Tensor loss = functional.cross_entropy(standard.matmul(weights).add(biases), facts)
                    + (Decay * weights.square().sum());
                loss.backward();
                _ = optimizer.step();
            }
        }

        (_weights, _biases) = (weights.detach().MoveToOuterDisposeScope(), biases.detach().MoveToOuterDisposeScope());
    }

    /// <summary>The fraction of states whose fact the probe reads correctly.</summary>
    public double Accuracy(Tensor states, Tensor facts)
    {
        using var scope = NewDisposeScope();
        Tensor read = ((states - _mean) / _scale).matmul(_weights).add(_biases).argmax(1);
        return read.eq(facts).to(ScalarType.Float32).mean().item<float>();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mean.Dispose();
        _scale.Dispose();
        _weights.Dispose();
        _biases.Dispose();
    }
}

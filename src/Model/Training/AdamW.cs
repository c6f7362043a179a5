// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on one flat buffer, computed by libtorch's fused kernel.
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>
/// Hyperparameters of AdamW. Weight decay is decoupled and applies to every parameter, as in the reference.
/// </summary>
public sealed record AdamWSettings
{
    /// <summary>Decay of the first moment, β₁.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the second moment, β₂.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Number added to the square root of the second moment, ε.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled weight decay.</summary>
    public double WeightDecay { get; init; } = 0.1;
}

/// <summary>AdamW over a flat float32 tensor, with its moments.</summary>
public sealed class AdamW : IDisposable
{
    // TorchSharp has no fused optimizers, but a compiled script can call any operator of the library. The script must
    // end in a newline.
    private const string Script = """
        def update(p: List[Tensor], g: List[Tensor], m: List[Tensor], v: List[Tensor], t: List[Tensor], lr: float,
                   beta1: float, beta2: float, decay: float, eps: float):
            torch._fused_adamw_(p, g, m, v, [], t, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay, eps=eps,
                                amsgrad=False, maximize=False)

        """;

    private readonly AdamWSettings _settings;
    private readonly jit.CompilationUnit _script;

    /// <summary>
    /// Starts with zero moments, of the shape and device of <paramref name="parameters"/>, [P] float32.
    /// </summary>
    /// <exception cref="ArgumentException">
    /// The parameters are not float32: precision of the weights is already lost, and small updates would be lost.
    /// </exception>
    public AdamW(AdamWSettings settings, Tensor parameters)
    {
        if (parameters.dtype != ScalarType.Float32)
        {
            throw new ArgumentException(
                $"Master weights must be float32, not {parameters.dtype}; the network may compute in another "
                + "precision.",
                nameof(parameters));
        }

        _settings = settings;
        _script = jit.compile(Script);
        FirstMoment = zeros_like(parameters, requires_grad: false).DetachFromDisposeScope();
        SecondMoment = zeros_like(parameters, requires_grad: false).DetachFromDisposeScope();
    }

    /// <summary>First moment m, [P].</summary>
    public Tensor FirstMoment { get; }

    /// <summary>Second moment v, [P].</summary>
    public Tensor SecondMoment { get; }

    /// <summary>Number of updates so far, for the bias correction of the moments.</summary>
    public long Updates { get; set; }

    /// <summary>Updates <paramref name="parameters"/> [P] once, in place.</summary>
    public void Update(Tensor parameters, Tensor gradient, double learningRate)
    {
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        Updates++;
        Tensor count = tensor((float)Updates, device: parameters.device);

        // These are explicit scalars, because a plain number would become a native scalar that nothing keeps alive
        // until the script has read it.
        using Scalar rate = learningRate.ToScalar(), beta1 = _settings.Beta1.ToScalar(),
            beta2 = _settings.Beta2.ToScalar();
        using Scalar decay = _settings.WeightDecay.ToScalar(), epsilon = _settings.Epsilon.ToScalar();
        _script.invoke(
            "update", new[] { parameters }, new[] { gradient }, new[] { FirstMoment }, new[] { SecondMoment },
            new[] { count }, rate, beta1, beta2, decay, epsilon);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        FirstMoment.Dispose();
        SecondMoment.Dispose();
        _script.Dispose();
    }
}

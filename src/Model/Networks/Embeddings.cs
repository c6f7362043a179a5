// The embeddings of positions, noise levels, captions and patches.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Networks;

/// <summary>The fixed table of two-dimensional sinusoidal positions.</summary>
public static class PositionTable
{
    /// <summary>
    /// Positions of a square grid, [grid², width] row by row. The first half of the features encodes the column, the
    /// second half the row; each half holds sines, then cosines. Coordinates are rounded to float32, as in the
    /// reference; angles are float64.
    /// </summary>
    /// <param name="width">Features per position; a multiple of 4.</param>
    /// <param name="grid">Number of positions along one side.</param>
    /// <param name="interpolation">
    /// Divisor of the coordinates, so that a finer grid spans the range of a coarser one.
    /// </param>
    /// <param name="baseSize">Size of the grid whose coordinates are whole numbers.</param>
    public static float[] Build(int width, int grid, double interpolation, int baseSize)
    {
        int quarter = width / 4;
        var frequency = new double[quarter];
        for (int i = 0; i < quarter; i++)
        {
            frequency[i] = 1.0 / Math.Pow(10000, i / (width / 4.0));
        }

        var coordinate = new float[grid];
        for (int i = 0; i < grid; i++)
        {
            coordinate[i] = i / (float)((double)grid / baseSize) / (float)interpolation;
        }

        var table = new float[grid * grid * width];
        for (int place = 0; place < grid * grid; place++)
        {
            Encode(coordinate[place % grid], table.AsSpan(place * width, width / 2));
            Encode(coordinate[place / grid], table.AsSpan((place * width) + (width / 2), width / 2));
        }

        return table;

        void Encode(float position, Span<float> features)
        {
            for (int i = 0; i < quarter; i++)
            {
                double angle = position * frequency[i];
                features[i] = (float)Math.Sin(angle);
                features[quarter + i] = (float)Math.Cos(angle);
            }
        }
    }
}

/// <summary>
/// Embeds a noise level: sinusoids of c_noise = ln(σ)/4 (without a factor of 1000), then a two-layer perceptron.
/// </summary>
public sealed class TimestepEmbedder : Module<Tensor, Tensor>
{
    /// <summary>Number of sinusoids per noise level.</summary>
    public const int Frequencies = 512;

    [ComponentName(Name = "mlp")] private readonly Sequential _mlp;

    /// <summary>Allocates an embedder with <paramref name="width"/> output features.</summary>
    public TimestepEmbedder(int width) : base(nameof(TimestepEmbedder))
    {
        _mlp = Sequential(
            ("0", new Linear(Frequencies, width, bias: true)), ("1", new TanhGelu()),
            ("2", new Linear(width, width, bias: true)));
        RegisterComponents();
    }

    /// <summary>
    /// Cosines, then sines of <paramref name="t"/> [B] at falling frequencies: [B, width]. If the width is odd, the
    /// last feature is 0.
    /// </summary>
    public static Tensor Sinusoids(Tensor t, int width)
    {
        using var scope = NewDisposeScope();
        int half = width / 2;
        Tensor frequency = exp(arange(half, dtype: ScalarType.Float32, device: t.device) * (-Math.Log(10000) / half));
        Tensor angle = t.to(ScalarType.Float32).unsqueeze(1) * frequency.unsqueeze(0); // [B, width/2]
        Tensor features = cat([cos(angle), sin(angle)], dim: -1);                      // [B, width]
        return (width % 2 == 0 ? features : functional.pad(features, (0, 1))).MoveToOuterDisposeScope();
    }

    /// <summary>Features [B, D] of noise levels t [B].</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var first = (Linear)_mlp[0];
        return _mlp.call(Sinusoids(input, Frequencies).to(first.Weight.dtype)).MoveToOuterDisposeScope();
    }
}

/// <summary>GELU in the tanh approximation, which the reference uses for embeddings and modulation.</summary>
public sealed class TanhGelu : Module<Tensor, Tensor>
{
    /// <summary>Creates the activation.</summary>
    public TanhGelu() : base(nameof(TanhGelu)) => RegisterComponents();

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => Activations.TanhGelu(input);
}

/// <summary>Two linear layers around a tanh-GELU and a layer norm: fc2(norm(gelu(fc1(x)))).</summary>
public sealed class EmbeddingMlp : Module<Tensor, Tensor>
{
    [ComponentName(Name = "fc1")] private readonly Linear _fc1;
    [ComponentName(Name = "norm")] private readonly LayerNorm _norm;
    [ComponentName(Name = "fc2")] private readonly Linear _fc2;

    /// <summary>Allocates a perceptron from <paramref name="inputs"/> to <paramref name="width"/> features.</summary>
    public EmbeddingMlp(int inputs, int width, double eps) : base(nameof(EmbeddingMlp))
    {
        _fc1 = new Linear(inputs, width, bias: true);
        _norm = new LayerNorm(width, eps);
        _fc2 = new Linear(width, width, bias: true);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor hidden = Activations.TanhGelu(_fc1.call(input));
        return _fc2.call(_norm.call(hidden)).MoveToOuterDisposeScope();
    }
}

/// <summary>Projects caption features [B, L, C] to the network's width, [B, L, D].</summary>
public sealed class CaptionProjection : Module<Tensor, Tensor>
{
    [ComponentName(Name = "y_proj")] private readonly EmbeddingMlp _projection;

    /// <summary>Allocates a projection from <paramref name="channels"/> to <paramref name="width"/> features.</summary>
    public CaptionProjection(int channels, int width, double eps) : base(nameof(CaptionProjection))
    {
        _projection = new EmbeddingMlp(channels, width, eps);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input) => _projection.call(input);
}

/// <summary>Cuts a latent [B, C, H, W] into patches and projects each to a token, [B, T, D], row by row.</summary>
public sealed class PatchEmbed : Module<Tensor, Tensor>
{
    [ComponentName(Name = "proj")] private readonly Conv2d _projection;

    /// <summary>Allocates an embedding of square patches.</summary>
    public PatchEmbed(int patch, int channels, int width) : base(nameof(PatchEmbed))
    {
        _projection = new Conv2d(channels, width, (patch, patch), stride: patch);
        RegisterComponents();
    }

    /// <summary>
    /// A convolution whose stride equals its kernel size is one matrix product over patches. It is computed as a matrix
    /// product, so that its bits do not depend on the convolution algorithm that is chosen for the batch.
    /// </summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Parameter weight = _projection.Weight;                                       // [D, C, p, p]
        long width = weight.shape[0], patch = weight.shape[2];
        Tensor patches = functional.unfold(input, patch, stride: patch).transpose(1, 2); // [B, T, C p p]
        return functional.linear(patches, weight.view(width, -1), _projection.Bias).MoveToOuterDisposeScope();
    }
}

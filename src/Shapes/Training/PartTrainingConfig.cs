// The settings shared by the trainings of all parts.
using System.Text.Json.Serialization;
using Atelier.Model.Runtime;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>
/// Settings of a part's training. A checkpoint holds the settings as JSON, which is compared as text, so their order is
/// fixed. <see cref="JsonPropertyOrderAttribute"/> leaves room for each part's own settings between them.
/// </summary>
public abstract record PartTrainingConfig
{
    /// <summary>Total number of steps.</summary>
    [JsonPropertyOrder(10)]
    public long Steps { get; init; }

    /// <summary>Highest learning rate.</summary>
    [JsonPropertyOrder(30)]
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Steps until the learning rate reaches its maximum. After them, it decreases along a cosine.</summary>
    [JsonPropertyOrder(40)]
    public long WarmupSteps { get; init; } = 100;

    /// <summary>Maximum 2-norm of a gradient; longer gradients are scaled down to this norm.</summary>
    [JsonPropertyOrder(60)]
    public double ClipNorm { get; init; } = 1;

    /// <summary>
    /// Smoothing of the averaged weights, which are the result of the training. In step k, counted from 0, the
    /// smoothing is at most (k + 1) / (k + 10).
    /// </summary>
    [JsonPropertyOrder(70)]
    public double AverageSmoothing { get; init; }

    /// <summary>
    /// Whether the network computes in bfloat16 instead of float32 during training; by default the faster one on this
    /// processor. A training can be resumed only in the precision that it began in.
    /// </summary>
    [JsonPropertyOrder(90)]
    public bool BFloat16 { get; init; } = Libtorch.FastPrecision == ScalarType.BFloat16;

    /// <summary>Seed of weights, scenes and noise.</summary>
    [JsonPropertyOrder(100)]
    public ulong Seed { get; init; }

    internal ScalarType Compute => BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
}

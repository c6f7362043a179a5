// What the trainings of all parts are told.
using System.Text.Json.Serialization;
using Atelier.Model.Runtime;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>
/// How a part is trained. A checkpoint holds these settings as JSON and is compared with them as text, so the order in
/// which they are written is fixed: <see cref="JsonPropertyOrderAttribute"/> leaves each part's own settings their
/// places between.
/// </summary>
public abstract record PartTrainingConfig
{
    /// <summary>Steps in all.</summary>
    [JsonPropertyOrder(10)]
    public long Steps { get; init; }

    /// <summary>Learning rate at its highest.</summary>
    [JsonPropertyOrder(30)]
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Steps until the learning rate is at its highest; then it falls along a cosine.</summary>
    [JsonPropertyOrder(40)]
    public long WarmupSteps { get; init; } = 100;

    /// <summary>Gradients longer than this are cut.</summary>
    [JsonPropertyOrder(60)]
    public double ClipNorm { get; init; } = 1;

    /// <summary>
    /// Smoothing of the averaged weights, which are the result. Step k, from 0, has no more than (k + 1) / (k + 10).
    /// </summary>
    [JsonPropertyOrder(70)]
    public double AverageSmoothing { get; init; }

    /// <summary>
    /// Whether the network computes in bfloat16 while it learns, and not in float32; by default what this processor is
    /// faster in. A training resumes in the precision that it began in, or not at all.
    /// </summary>
    [JsonPropertyOrder(90)]
    public bool BFloat16 { get; init; } = Libtorch.FastPrecision == ScalarType.BFloat16;

    /// <summary>Seed of weights, scenes and noise.</summary>
    [JsonPropertyOrder(100)]
    public ulong Seed { get; init; }

    internal ScalarType Compute => BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
}

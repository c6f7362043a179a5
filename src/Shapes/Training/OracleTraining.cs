// Trains the oracle on rendered scenes, spoiled in every way that it shall see through.
using Atelier.Model.Imaging;
using Atelier.Model.Runtime;
using Atelier.Model.Training;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Scenes;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>How an oracle is trained. The defaults make one from nothing; the shipped one's story is in docs/log.md.</summary>
public sealed record OracleTrainingConfig
{
    /// <summary>Steps in all.</summary>
    public long Steps { get; init; } = 8_000;

    /// <summary>Pictures of a step.</summary>
    public int Batch { get; init; } = 64;

    /// <summary>Learning rate at its highest.</summary>
    public double LearningRate { get; init; } = 3e-3;

    /// <summary>Steps until the learning rate is at its highest; then it falls along a cosine.</summary>
    public long WarmupSteps { get; init; } = 100;

    /// <summary>Gradients longer than this are cut.</summary>
    public double ClipNorm { get; init; } = 5;

    /// <summary>Smoothing of the averaged weights, which are the result.</summary>
    public double AverageSmoothing { get; init; } = 0.998;

    /// <summary>
    /// Whether the network computes in bfloat16 while it learns, and not in float32; by default what this processor is
    /// faster in. A training goes on in the precision that it began in, or not at all.
    /// </summary>
    public bool BFloat16 { get; init; } = Libtorch.FastPrecision == ScalarType.BFloat16;

    /// <summary>Seed of the weights, the scenes and their damage.</summary>
    public ulong Seed { get; init; } = 11;
}

/// <summary>Trains an <see cref="OracleNetwork"/>.</summary>
internal sealed class OracleTraining : IDisposable
{
    // What is trained on: every arrangement, and any combination, since the oracle must know what training never meets.
    // A thing inside another is the hardest to see, and seldom drawn otherwise; the pairs that are held out for it are a
    // square and a ring in a circle among others, which look most alike.
    private static readonly (SceneTask Task, Split Split, Relation? Relation)[] s_tasks =
    [
        (SceneTask.Single, Split.Any, null), (SceneTask.Two, Split.Any, null), (SceneTask.Counting, Split.Any, null),
        (SceneTask.Position, Split.Any, null), (SceneTask.Position, Split.Any, Relation.Inside),
        (SceneTask.Position, Split.HeldOut, Relation.Inside), (SceneTask.Free, Split.Any, null),
    ];

    private static readonly Spoilage[] s_spoilages = Enum.GetValues<Spoilage>();

    private readonly OracleTrainingConfig _config;
    private readonly OracleNetwork _network = new();
    private readonly NetworkInTraining _state;
    private readonly SceneRenderer _renderer = new();
    private readonly SceneSampler _sampler;
    private readonly LearningRate _rate;
    private readonly ScalarType _compute;

    public OracleTraining(OracleTrainingConfig config)
    {
        _config = config;
        _compute = config.BFloat16 ? ScalarType.BFloat16 : ScalarType.Float32;
        _network.Initialize(config.Seed);
        _state = new NetworkInTraining(
            _network, _compute, new AdamWSettings { WeightDecay = 0.01 }, config.AverageSmoothing, PartRecipe.Of(config));
        _sampler = new SceneSampler(config.Seed);
        _rate = LearningRate.Cosine(config.LearningRate, config.WarmupSteps, config.Steps, finalFraction: 0.01);
    }

    /// <summary>Makes the missing steps; see <see cref="TrainingLoop.Run"/>.</summary>
    /// <returns>The averaged network in float32. The caller disposes it.</returns>
    public OracleNetwork Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        TrainingLoop.Run(_state, checkpoint, _config.Steps, _config.Batch, Prepare, Train, report, cancellation);
        var result = new OracleNetwork();
        _state.CopyAverageTo(result);
        return result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _state.Dispose();
        _network.Dispose();
        _renderer.Dispose();
    }

    private (Scene Scene, RgbImage Image)[] Prepare(long step)
    {
        var batch = new (Scene, RgbImage)[_config.Batch];
        for (int i = 0; i < batch.Length; i++)
        {
            batch[i] = Example((step * _config.Batch) + i);
        }

        return batch;
    }

    private double Train(long step, (Scene Scene, RgbImage Image)[] batch)
    {
        using var scope = NewDisposeScope();
        _state.ClearGradients();
        OracleOutput output = _network.call(Oracle.ToTensor([.. batch.Select(example => example.Image)]).to(_compute));
        Tensor loss = OracleLoss.Of(output.ToFloat32(), [.. batch.Select(example => example.Scene)]);
        loss.backward();
        _state.Update(_rate.At(step), _config.ClipNorm);
        return loss.item<float>();
    }

    // A scene, drawn at one of the model's two sizes and brought to the network's, whole or spoiled once or twice.
    private (Scene Scene, RgbImage Image) Example(long index)
    {
        var draw = new DrawStream(_config.Seed, Purpose.Spoiling, index);
        (SceneTask task, Split split, Relation? relation) = draw.Pick(s_tasks);
        Scene scene = _sampler.Draw(index, task, split, relation);
        bool isDouble = draw.Chance(0.4);
        RgbImage image = _renderer.Render(scene, isDouble ? 2 * OracleNetwork.Side : OracleNetwork.Side);
        image = isDouble ? Halve(image) : image;
        image = Spoiling.Spoil(image, draw.Pick(s_spoilages), draw);
        return (scene, draw.Chance(0.5) ? Spoiling.Spoil(image, draw.Pick(s_spoilages), draw) : image);
    }

    private static RgbImage Halve(RgbImage image)
    {
        int side = image.Width / 2, line = 3 * image.Width;
        var pixels = new byte[3 * side * side];
        for (int i = 0; i < pixels.Length; i++)
        {
            (int row, int place) = Math.DivRem(i, 3 * side);
            int from = (2 * row * line) + (2 * (place - (place % 3))) + (place % 3);
            int above = image.Pixels[from] + image.Pixels[from + 3];
            int below = image.Pixels[from + line] + image.Pixels[from + line + 3];
            pixels[i] = (byte)((above + below + 2) / 4);
        }

        return new RgbImage(side, side, pixels);
    }
}

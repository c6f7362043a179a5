// Training of the oracle on rendered scenes, with every degradation that it must tolerate.
using System.Text.Json.Serialization;
using Atelier.Model.Imaging;
using Atelier.Model.Training;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Scenes;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>
/// Settings of an oracle's training. The defaults train an oracle from scratch; docs/log.md describes how the shipped
/// one was trained.
/// </summary>
public sealed record OracleTrainingConfig : PartTrainingConfig
{
    /// <summary>Creates the default settings.</summary>
    public OracleTrainingConfig()
    {
        Steps = 8_000;
        LearningRate = 3e-3;
        ClipNorm = 5;
        AverageSmoothing = 0.998;
        Seed = 11;
    }

    /// <summary>Number of pictures in a step.</summary>
    [JsonPropertyOrder(20)]
    public int Batch { get; init; } = 64;
}

/// <summary>Trains an <see cref="OracleNetwork"/>.</summary>
internal sealed class OracleTraining : IDisposable
{
    // The training data: all arrangements and all combinations, because the oracle must also know held-out ones. A
    // thing inside another is the hardest to detect and otherwise rare. Its held-out combinations include a square in a
    // circle and a ring in a circle, which look most alike.
    private static readonly (SceneTask Task, Split Split, Relation? Relation)[] s_tasks =
    [
        (SceneTask.Single, Split.Any, null), (SceneTask.Two, Split.Any, null), (SceneTask.Counting, Split.Any, null),
        (SceneTask.Position, Split.Any, null), (SceneTask.Position, Split.Any, Relation.Inside),
        (SceneTask.Position, Split.HeldOut, Relation.Inside), (SceneTask.Free, Split.Any, null),
    ];

    private static readonly Spoilage[] s_spoilages = Enum.GetValues<Spoilage>();

    private readonly OracleTrainingConfig _config;
    private readonly OracleNetwork _network = new();
    private readonly PartTrainer _trainer;
    private readonly SceneRenderer _renderer = new();
    private readonly SceneSampler _sampler;

    public OracleTraining(OracleTrainingConfig config)
    {
        _config = config;
        _network.Initialize(config.Seed);
        _trainer = new PartTrainer(_network, config, new AdamWSettings { WeightDecay = 0.01 }, finalFraction: 0.01);
        _sampler = new SceneSampler(config.Seed);
    }

    /// <summary>Runs the remaining steps; see <see cref="PartTrainer.Run{T}"/>.</summary>
    /// <returns>The averaged network in float32. The caller disposes it.</returns>
    public OracleNetwork Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        _trainer.Run(checkpoint, _config.Batch, Prepare, Loss, report, cancellation);
        var result = new OracleNetwork();
        _trainer.CopyResultTo(result);
        return result;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trainer.Dispose();
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

    private double Loss(long step, (Scene Scene, RgbImage Image)[] batch)
    {
        using var scope = NewDisposeScope();
        Tensor images = Oracle.ToTensor([.. batch.Select(example => example.Image)]);
        OracleOutput output = _network.call(images.to(_config.Compute));
        Tensor loss = OracleLoss.Of(output.ToFloat32(), [.. batch.Select(example => example.Scene)]);
        loss.backward();
        return loss.item<float>();
    }

    // Draws a scene at one of the model's two sizes, scales it to the network's size, and degrades it up to twice.
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

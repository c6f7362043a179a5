// Trains the oracle on rendered scenes, spoiled in every way that it shall see through. The same command again goes on
// where the last one stopped.
using System.Globalization;
using Atelier.Model;
using Atelier.Model.Imaging;
using Atelier.Model.Training;
using Atelier.Model.Weights;
using Atelier.Shapes.Drawing;
using static TorchSharp.torch;

namespace Atelier.Shapes.Judging;

/// <summary>How an oracle is trained.</summary>
public sealed record OracleTrainingSettings
{
    /// <summary>Seed of the weights, the scenes and their damage.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Updates in all.</summary>
    public int Steps { get; init; } = 3000;

    /// <summary>Pictures of an update.</summary>
    public int Batch { get; init; } = 32;

    /// <summary>Greatest learning rate.</summary>
    public double LearningRate { get; init; } = 3e-3;

    /// <summary>Updates between two checkpoints.</summary>
    public int StepsPerCheckpoint { get; init; } = 250;
}

/// <summary>How far training is.</summary>
/// <param name="Step">Updates done.</param>
/// <param name="Steps">Updates in all.</param>
/// <param name="Loss">Mean loss since the last report.</param>
public readonly record struct OracleProgress(int Step, int Steps, double Loss);

/// <summary>Trains oracles.</summary>
public static class OracleTraining
{
    /// <summary>Name of the finished oracle in its folder.</summary>
    public const string FileName = "oracle.safetensors";

    private const string CheckpointName = "checkpoint.safetensors";
    private const int StepsPerReport = 50;
    private const double Smoothing = 0.995;

    // What is trained on: every arrangement, and any combination, since the oracle must know what training never meets.
    private static readonly SceneTask[] s_tasks = [SceneTask.Single, SceneTask.Two, SceneTask.Counting, SceneTask.Position, SceneTask.Free];

    private static readonly Spoilage[] s_spoilages = Enum.GetValues<Spoilage>();

    /// <summary>Trains, or goes on training, and writes the finished oracle to <see cref="FileName"/> in a folder.</summary>
    /// <param name="settings">How; a checkpoint of other settings is refused.</param>
    /// <param name="work">Folder of the checkpoint; made if it does not exist.</param>
    /// <param name="folder">Folder of the finished oracle; made if it does not exist.</param>
    /// <param name="report">Told how far it is, every 50 updates.</param>
    /// <param name="stop">Ends training at the end of an update, with a checkpoint.</param>
    /// <exception cref="RefusedFileException">The checkpoint is damaged or belongs to other settings.</exception>
    public static void Run(
        OracleTrainingSettings settings, string work, string folder, Action<OracleProgress>? report = null,
        CancellationToken stop = default)
    {
        ArgumentNullException.ThrowIfNull(settings);
        Directory.CreateDirectory(work);
        Directory.CreateDirectory(folder);
        using var network = new OracleNetwork();
        network.Initialize(settings.Seed);
        network.train();
        using var flat = new FlatParameters(network);
        using var optimizer = new AdamW(new AdamWSettings { WeightDecay = 0.01 }, flat.Values);
        using Tensor average = flat.Values.detach().clone();
        using var renderer = new SceneRenderer();
        string checkpoint = Path.Combine(work, CheckpointName);
        var state = new (string, Tensor)[]
        {
            ("weights", flat.Values), ("average", average), ("first", optimizer.FirstMoment), ("second", optimizer.SecondMoment),
        };
        optimizer.Updates = File.Exists(checkpoint) ? Restore(checkpoint, settings, state) : 0;
        double loss = 0;
        int since = 0;
        for (int step = (int)optimizer.Updates; step < settings.Steps; step++, since++)
        {
            loss += Step(network, flat, optimizer, average, renderer, settings, step);
            bool isLast = step + 1 == settings.Steps || stop.IsCancellationRequested;
            if (isLast || (step + 1) % settings.StepsPerCheckpoint == 0)
            {
                Keep(checkpoint, settings, step + 1, state);
            }

            if (isLast || (step + 1) % StepsPerReport == 0)
            {
                report?.Invoke(new OracleProgress(step + 1, settings.Steps, loss / (since + 1)));
                (loss, since) = (0, -1);
            }

            stop.ThrowIfCancellationRequested();
        }

        Finish(network, flat, average, settings, Path.Combine(folder, FileName));
    }

    private static double Step(
        OracleNetwork network, FlatParameters flat, AdamW optimizer, Tensor average, SceneRenderer renderer,
        OracleTrainingSettings settings, int step)
    {
        using var scope = NewDisposeScope();
        Scene[] scenes = new Scene[settings.Batch];
        var images = new RgbImage[settings.Batch];
        for (int i = 0; i < settings.Batch; i++)
        {
            (scenes[i], images[i]) = Example(renderer, settings.Seed, ((long)step * settings.Batch) + i);
        }

        flat.Gradients.zero_();
        Tensor total = OracleLoss.Of(network.call(Oracle.ToTensor(images)), scenes);
        total.backward();
        double norm = linalg.norm(flat.Gradients).item<float>();
        if (!double.IsFinite(norm))
        {
            throw new InvalidOperationException($"The gradient of step {step} is not finite.");
        }

        using var noGradients = no_grad();
        flat.Gradients.mul_((float)Math.Min(1, 5 / (norm + 1e-6)));
        var rate = new LearningRate
        {
            Shape = ScheduleShape.Cosine, Base = settings.LearningRate, WarmupSteps = 100, TotalSteps = settings.Steps,
            FinalFraction = 0.01, LagsOneBatch = false,
        };
        optimizer.Update(flat.Values, flat.Gradients, rate.At(step + 1));
        average.lerp_(flat.Values, 1 - Math.Min(Smoothing, (step + 1.0) / (step + 10.0)));
        return total.item<float>();
    }

    // A scene, drawn at one of the model's two sizes and brought to the network's, whole or spoiled once or twice.
    private static (Scene Scene, RgbImage Image) Example(SceneRenderer renderer, ulong seed, long index)
    {
        var draw = new DrawStream(seed, Purpose.Spoiling, index);
        Scene scene = new SceneSampler(seed).Draw(index, draw.Pick(s_tasks), Split.Any);
        bool isDouble = draw.Chance(0.4);
        RgbImage image = renderer.Render(scene, isDouble ? 2 * OracleNetwork.Side : OracleNetwork.Side);
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
            int sum = image.Pixels[from] + image.Pixels[from + 3] + image.Pixels[from + line] + image.Pixels[from + line + 3];
            pixels[i] = (byte)((sum + 2) / 4);
        }

        return new RgbImage(side, side, pixels);
    }

    private static void Finish(
        OracleNetwork network, FlatParameters flat, Tensor average, OracleTrainingSettings settings, string path)
    {
        using var noGradients = no_grad();
        flat.Values.copy_(average);
        Oracle.Save(network, path, new Dictionary<string, string>(StringComparer.Ordinal) { ["training"] = settings.ToString() });
    }

    private static void Keep(string path, OracleTrainingSettings settings, int step, (string Name, Tensor Values)[] state)
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["training"] = settings.ToString(),
            ["step"] = step.ToString(CultureInfo.InvariantCulture),
        };
        using var writer = new SafeTensorsWriter(
            path, state.Select(part => new TensorInfo(part.Name, ElementType.Float32, part.Values.shape)), metadata);
        foreach (TensorInfo info in writer.Order)
        {
            writer.Append(info.Name, state.Single(part => part.Name == info.Name).Values.bytes);
        }

        writer.Commit();
    }

    private static int Restore(string path, OracleTrainingSettings settings, (string Name, Tensor Values)[] state)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        if (file.Metadata.GetValueOrDefault("training") is var training && training != settings.ToString())
        {
            throw new RefusedFileException(
                path, "metadata", $"this run has other settings ({training}): name another folder, or remove the file");
        }

        foreach ((string name, Tensor values) in state)
        {
            if (!file.Tensors.TryGetValue(name, out TensorInfo? info) || !info.Shape.SequenceEqual(values.shape))
            {
                throw new RefusedFileException(path, $"tensor \"{name}\"", "is missing or of another network: remove the file");
            }

            file.ReadInto(name, values.bytes);
        }

        return int.TryParse(file.Metadata.GetValueOrDefault("step"), NumberStyles.None, CultureInfo.InvariantCulture, out int step)
            ? step
            : throw new RefusedFileException(path, "metadata", "step is no number");
    }
}

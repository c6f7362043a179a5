// A stage of a dozen steps that a test can stop, damage and restart.
using System.Globalization;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Atelier.Training;
using TorchSharp;

namespace Atelier.Model.Tests.Training.Runs;

internal static class ToyStage
{
    public const int Steps = 20;

    /// <summary>A stage in that folder, with a mask, microbatches, clipping, a schedule and an average.</summary>
    public static StageConfig Config(string folder, torch.ScalarType compute = torch.ScalarType.Float32) => new()
    {
        Name = "toy",
        Seed = 7,
        Network = SmallNetworks.Tiny,
        Compute = compute,
        StepSettings = ToyRun.Settings with
        {
            LearningRate = new LearningRate
            {
                Shape = ScheduleShape.Cosine, Base = 2e-3, WarmupSteps = 4, TotalSteps = Steps, LagsOneBatch = false,
            },
            EmaStart = 5,
        },
        CaptionDrop = 0.1,
        DataFolders = [],
        LatentColumn = "latents_64",
        CaptionLength = 5,
        Steps = Steps,
        SaveInterval = 6,
        CheckpointsKept = 2,
        Folder = folder,
        Start = new StageStart(null, Average: true),
        Panel = null,
        Policy = new StepPolicy(),
        Lines = ["exp_name: toy"],
    };

    /// <summary>Runs to the end, or for that many steps, and returns the digest of the weights.</summary>
    public static string Run(
        StageConfig config, int steps = int.MaxValue, ITrainingData? data = null, List<string>? remarks = null)
    {
        using var run = new StageState(config, data ?? Data, text => remarks?.Add(text));
        using var stop = new CancellationTokenSource();
        int made = 0;
        StageLoop.Run(
            run, new LocalExchange(run.Engine),
            _ =>
            {
                if (++made == steps)
                {
                    stop.Cancel();
                }
            },
            stop.Token);
        TrainingReport.Write(run);
        return run.WeightsDigest();
    }

    public static ITrainingData Data { get; } = new ToyData(13, SmallNetworks.Tiny);

    /// <summary>Numbers of the steps in the metrics, in order.</summary>
    public static long[] Recorded(string folder) =>
    [
        .. File.ReadLines(Path.Combine(folder, StepMetrics.FileName)).Select(line =>
            long.Parse(line.Split("\"step\":")[1].Split(',')[0], CultureInfo.InvariantCulture)),
    ];

    /// <summary>The toy's samples, some of them spoiled: their latents, or one number of their captions.</summary>
    public sealed class SpoiledData(ITrainingData data, Func<int, float?> spoil, bool isCaption = false) : ITrainingData
    {
        public int Count => data.Count;

        public (int Channels, int Height, int Width) LatentShape => data.LatentShape;

        public (int Length, int Channels) CaptionShape => data.CaptionShape;

        public void Read(int sample, Span<float> latent, Span<float> caption)
        {
            data.Read(sample, latent, caption);
            if (spoil(sample) is { } value)
            {
                (isCaption ? caption[^1..] : latent).Fill(value);
            }
        }
    }
}

// atelier train: one stage, or all of a folder in order.
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Atelier.Model;
using Atelier.Model.Networks;
using Atelier.Model.Runtime;
using Atelier.Model.Training.Runs;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class TrainCommand
{
    public static Command Create()
    {
        var config = new Argument<string>("config") { Description = "A stage's YAML file, or a folder of stages that run in the order of their names." };
        var overrides = new Argument<string[]>("key=value") { Description = "Changes to the configuration.", Arity = ArgumentArity.ZeroOrMore };
        var dryRun = new Option<bool>("--dry-run") { Description = "Print the resolved configuration, sizes and an estimate, and stop." };
        var threads = new Option<int?>("--threads") { Description = "Threads of libtorch." };
        var command = new Command("train", "Trains. The same command again goes on where it stopped.") { config, overrides, dryRun, threads };
        command.SetAction((parsed, cancellation) =>
        {
            if (parsed.GetValue(threads) is { } count)
            {
                torch.set_num_threads(count);
            }

            // All are read before the first one runs, so that a mistake in the last is found now.
            StageConfig[] stages =
                [.. Stages(parsed.GetRequiredValue(config)).Select(path => StageConfig.Read(path, parsed.GetValue(overrides) ?? []))];
            foreach (StageConfig stage in stages)
            {
                if (parsed.GetValue(dryRun))
                {
                    Describe(stage);
                }
                else if (!Run(stage, cancellation))
                {
                    return Task.FromResult(130);
                }
            }

            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>The stages of a file or folder, in order.</summary>
    public static string[] Stages(string path)
    {
        if (File.Exists(path))
        {
            return [path];
        }

        if (!Directory.Exists(path))
        {
            throw new UserErrorException($"There is no file or folder {path}.");
        }

        string[] stages =
        [
            .. Directory.GetFiles(path)
                .Where(file => Path.GetExtension(file).ToLowerInvariant() is ".yaml" or ".yml")
                .Order(StringComparer.Ordinal),
        ];
        return stages.Length > 0 ? stages : throw new UserErrorException($"{path} holds no .yaml or .yml file.");
    }

    private static void Describe(StageConfig stage)
    {
        foreach (string line in stage.Lines)
        {
            Output.Line(line);
        }

        using var network = new MicroDiT(stage.Network);
        double parameters = network.parameters().Sum(p => p.numel());
        double flops = 3 * SampleFlops(stage) * stage.StepSettings.GlobalBatch, rate = MatmulRate(stage.Compute);
        Output.Table(
            [
                "stage", "precision", "parameters", "GFLOP a step", "master weights, moments, EMA", "matmul GFLOP/s",
                "hours at half of it",
            ],
            [[
                stage.Name, Precision.Name(stage.Compute),
                (parameters / 1e6).ToString("f1", CultureInfo.InvariantCulture) + " M",
                (flops / 1e9).ToString("n0", CultureInfo.InvariantCulture),
                (parameters * 4 * (stage.StepSettings.EmaSmoothing is null ? 4 : 5) / (1 << 20)).ToString("n0", CultureInfo.InvariantCulture) + " MiB",
                (rate / 1e9).ToString("n0", CultureInfo.InvariantCulture),
                (stage.Steps * flops / (0.5 * rate) / 3600).ToString("n1", CultureInfo.InvariantCulture),
            ]]);
    }

    /// <summary>Trains a stage, or goes on training it.</summary>
    /// <returns>Whether it is complete.</returns>
    public static bool Run(StageConfig stage, CancellationToken cancellation)
    {
        MicroDiTConfig network = stage.Network;
        using var data = new LatentData(
            stage.DataFolders, stage.LatentColumn, (network.InChannels, network.InputSize, network.InputSize),
            (stage.CaptionLength, network.CaptionChannels));
        using var run = new TrainingRun(stage, data, text => Output.Remark($"{stage.Name}: {text}"));
        if (run.IsComplete)
        {
            if (!File.Exists(Path.Combine(stage.Folder, TrainingReport.FileName)))
            {
                TrainingReport.Write(stage, run);
            }

            Output.Line($"{stage.Name}: complete, {run.StepsDone} batches, weights {run.WeightsDigest()[..16]}");
            return true;
        }

        Output.Line(
            $"{stage.Name}: {data.Count:n0} samples, batch {stage.StepSettings.GlobalBatch}, {Precision.Name(stage.Compute)}, "
            + $"from batch {run.StepsDone} of {stage.Steps}");
        using TrainingPanel? panel = stage.Panel is null ? null : new TrainingPanel(stage.Panel, stage, run);
        using var events = new TrainingEvents(
            Path.Combine(stage.Folder, TrainingEvents.FolderName), run.StepsDone, TimeProvider.System);
        if (panel is not null && File.Exists(panel.PathOf(run.StepsDone)))
        {
            // Of the step that was last before this one, and forgotten with what came after it.
            events.AddPicture("panel", File.ReadAllBytes(panel.PathOf(run.StepsDone)), run.StepsDone);
        }

        try
        {
            Output.WithMeter(stage.Name, tell =>
            {
                var meter = new Meter(stage, tell, events);
                run.Run(
                    meter.Tell, cancellation,
                    _ =>
                    {
                        if (panel is not null && (run.StepsDone % stage.Panel!.Interval == 0 || run.StepsDone == stage.Steps))
                        {
                            DrawPanel(panel, stage.Name, run.StepsDone, events);
                        }
                    });
            });
        }
        catch (TrainingFailedException)
        {
            TrainingReport.Write(stage, run); // It says why.
            throw;
        }

        TrainingReport.Write(stage, run);
        Output.Line(
            $"{stage.Name}: batch {run.StepsDone} of {stage.Steps}, {run.Applied} applied, {run.Skipped} skipped, "
            + $"{run.Undone} undone, {run.LeftOut.Times} samples left out, weights {run.WeightsDigest()[..16]}");
        Output.Line($"{stage.Name}: {Path.Combine(stage.Folder, TrainingReport.FileName)}");
        return run.IsComplete;
    }

    // A panel is for looking at: that there is none ends no training.
    private static void DrawPanel(TrainingPanel panel, string stage, long step, TrainingEvents events)
    {
        string sheet;
        try
        {
            sheet = panel.Draw().Path;
        }
        catch (NonFiniteException error)
        {
            Output.Remark($"{stage}: no panel after {step} batches. {error.Message}");
            return;
        }

        events.AddPicture("panel", File.ReadAllBytes(sheet), step);
    }

    private static double SampleFlops(StageConfig stage)
    {
        var cost = new MicroDiTCost(stage.Network);
        return cost.Caption(stage.CaptionLength) + cost.Evaluation(stage.CaptionLength, stage.StepSettings.MaskRatio);
    }

    // Larger products come nearer to the peak, but a precision that a processor lacks takes minutes for them.
    private static double MatmulRate(torch.ScalarType type)
    {
        (double rate, double seconds) = (0, 0);
        for (int size = 256; size <= 2048 && seconds < 0.1; size *= 2)
        {
            using torch.Tensor a = torch.randn(size, size).to(type), b = torch.randn(size, size).to(type);
            seconds = double.PositiveInfinity;
            for (int i = 0; i < 4; i++)
            {
                long start = Stopwatch.GetTimestamp();
                using torch.Tensor product = a.mm(b);
                seconds = Math.Min(seconds, Stopwatch.GetElapsedTime(start).TotalSeconds);
            }

            rate = Math.Max(rate, 2.0 * size * size * size / seconds);
        }

        return rate;
    }

    // Means over the batches applied since the last time it spoke, every few seconds; what is a number goes to the
    // event file. One batch that was skipped says nothing of the others.
    private sealed class Meter(StageConfig stage, Action<double, string> tell, TrainingEvents events)
    {
        private readonly double _interval = Output.IsErrorTerminal ? 1 : 10;
        private readonly double _peak = MatmulRate(stage.Compute);
        private double _loss;
        private double _norm;
        private double _seconds;
        private int _steps;
        private int _applied;
        private long _images;

        public void Tell(StepResult report)
        {
            if (report.Verdict == StepVerdict.Apply)
            {
                _loss += report.Loss;
                _norm += report.GradientNorm;
                _applied++;
            }

            _seconds += report.Seconds;
            _steps++;
            _images += stage.StepSettings.GlobalBatch - report.LeftOut;
            events.Add("loss", report.Loss, report.Step);
            events.Add("gradient norm", report.GradientNorm, report.Step);
            events.Add("learning rate", report.LearningRate, report.Step);
            long done = report.Step + 1;
            if (_seconds < _interval && done < stage.Steps)
            {
                return;
            }

            double images = _images / _seconds, left = (stage.Steps - done) * _seconds / _steps;
            double share = 3 * SampleFlops(stage) * images / _peak;
            tell((double)done / stage.Steps, string.Create(
                CultureInfo.InvariantCulture,
                $"{done}/{stage.Steps}  {Means()}  lr {report.LearningRate:g3}  "
                + $"{images:f0} images/s  {share:p0} of peak  {(int)(left / 3600)}:{TimeSpan.FromSeconds(left):mm\\:ss} left"));
            (_loss, _norm, _seconds, _steps, _applied, _images) = (0, 0, 0, 0, 0, 0);
        }

        private string Means()
        {
            string means = _applied == 0
                ? "nothing applied"
                : string.Create(CultureInfo.InvariantCulture, $"loss {_loss / _applied:f4}  |g| {_norm / _applied:f2}");
            return _applied == _steps ? means : $"{means}  {_steps - _applied} of {_steps} not applied";
        }
    }
}

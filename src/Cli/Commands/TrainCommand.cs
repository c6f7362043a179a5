// atelier train: trains one stage, or all stages of a folder in order.
using System.CommandLine;
using System.Globalization;
using Atelier.Model.Networks;
using Atelier.Model.Runtime;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class TrainCommand
{
    public static Command Create()
    {
        var config = new Argument<string>("config")
        {
            Description = "A stage's YAML file, or a folder of stages that run in the order of their names.",
        };
        var overrides = new Argument<string[]>("key=value")
        {
            Description = "Changes to the configuration.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var dryRun = new Option<bool>("--dry-run")
        {
            Description = "Only print the resolved configuration, sizes and an estimate.",
        };
        Option<int?> threads = Choices.NumberOrNone(
            "--threads", 1, TrainingSettings.ThreadsPerShardMax,
            "libtorch threads; by default one per core. They affect how many shards are computed at a time, but not "
            + "the resulting weights.");
        var costs = new ClusterCosts();
        var command = new Command("train", "Trains a model. If the command is repeated, it resumes where it stopped.")
        {
            config, overrides, dryRun, threads,
        };
        costs.AddTo(command);
        command.SetAction((parsed, cancellation) =>
        {
            if (parsed.GetValue(threads) is { } count)
            {
                torch.set_num_threads(count);
            }

            // All configurations are read before the first stage runs, so that a mistake in the last one is found
            // early.
            StageConfig[] stages =
                [
                    .. StageFiles.Of(parsed.GetRequiredValue(config)).Select(
                        path => StageConfig.Read(path, parsed.GetValue(overrides) ?? [])),
                ];
            if (parsed.GetValue(dryRun))
            {
                costs.Print(parsed, [.. stages.Select(stage => (stage, Describe(stage)))]);
                return Task.FromResult(0);
            }

            foreach (StageConfig stage in stages)
            {
                if (!StageTraining.Run(stage, new StageOutput(), cancellation))
                {
                    return Task.FromResult(130);
                }
            }

            return Task.FromResult(0);
        });
        return command;
    }

    // Returns the number of the network's parameters.
    private static double Describe(StageConfig stage)
    {
        foreach (string line in stage.Lines)
        {
            Output.Line(line);
        }

        using var network = new MicroDiT(stage.Network);
        double parameters = network.parameters().Sum(p => p.numel());
        double flops = StageCost.SampleFlops(stage) * stage.StepSettings.GlobalBatch;
        double rate = StageCost.MatmulRate(stage.Compute);
        Output.Table(
            [
                "stage", "precision", "parameters", "GFLOP per step", "master weights, moments, EMA", "shards",
                "shards' sums, at most", "matmul GFLOP/s", "hours at half that rate",
            ],
            [[
                stage.Name, Precision.Name(stage.Compute),
                (parameters / 1e6).ToString("f1", CultureInfo.InvariantCulture) + " M",
                (flops / 1e9).ToString("n0", CultureInfo.InvariantCulture),
                (parameters * 4 * (stage.StepSettings.EmaSmoothing is null ? 4 : 5) / (1 << 20)).ToString(
                    "n0", CultureInfo.InvariantCulture)
                    + " MiB",
                $"{stage.StepSettings.Shards} of {stage.StepSettings.Microbatch}",
                (parameters * 4 * (int.Log2(stage.StepSettings.Shards) + 1) / (1 << 20)).ToString(
                    "n0", CultureInfo.InvariantCulture)
                    + " MiB",
                (rate / 1e9).ToString("n0", CultureInfo.InvariantCulture),
                (stage.Steps * flops / (0.5 * rate) / 3600).ToString("n1", CultureInfo.InvariantCulture),
            ]]);
        return parameters;
    }
}

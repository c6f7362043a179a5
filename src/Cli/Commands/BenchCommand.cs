// atelier bench: speed as a share of what this machine can do.
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Atelier.Cli.Bench;
using Atelier.Cli.Cluster;
using Atelier.Silo.Devices;
using TorchSharp;

namespace Atelier.Cli.Commands;

internal static class BenchCommand
{
    public static Command Create()
    {
        return new Command("bench", "Measures speed and memory, always as ratios within one run.")
        {
            Model(), Memory(), Gpu(), Batching(), Overhead(),
        };
    }

    private static Command Memory()
    {
        Option<string> preset = Choices.Word("--preset", "Which network.", "XL_2", "Tiny_2");
        Option<FileInfo> weights = Choices.Path<FileInfo>(
            "--weights",
            "A safetensors file of the preset; created with formula weights, in a separate process, if it is missing.",
            required: true);
        Option<FileInfo> json = Choices.Json();
        var make = new Option<bool>("--make") { Description = "Only create the file.", Hidden = true };
        var command = new Command("memory", "Peak memory of loading a network and evaluating it once.")
        {
            preset, weights, json, make,
        };
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            (string name, string path) = (parsed.GetValue(preset)!, parsed.GetRequiredValue(weights).FullName);
            if (parsed.GetValue(make))
            {
                MemoryBench.WriteWeights(name, path);
                return 0;
            }

            if (!File.Exists(path))
            {
                // The program may be an executable of its own, or run by the dotnet host.
                string host = Environment.ProcessPath!;
                string[] program = Path.GetFileName(host) == "dotnet" ? [typeof(BenchCommand).Assembly.Location] : [];
                using Process maker = Process.Start(
                    host, [.. program, "bench", "memory", "--preset", name, "--weights", path, "--make"]);
                await maker.WaitForExitAsync(cancellation);
            }

            MemoryFigures figures = MemoryBench.Measure(name, path);
            Output.Table(
                ["preset", "weights, bytes", "peak resident, bytes", "ratio", "load, s", "forward, s"],
                [[
                    name, figures.WeightBytes.ToString("n0", CultureInfo.InvariantCulture),
                    figures.PeakBytes.ToString("n0", CultureInfo.InvariantCulture), Ratio(figures.Ratio),
                    figures.LoadSeconds.ToString("f1", CultureInfo.InvariantCulture),
                    figures.ForwardSeconds.ToString("f1", CultureInfo.InvariantCulture),
                ]]);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static Command Model()
    {
        Option<string> preset = Choices.Word("--preset", "Which network.", "Tiny_2", "XL_2");
        Option<int> batch = Choices.Number("--batch", 1, 1024, 8, "Pictures in a pass, 1 to 1024.");
        Option<int> latent = Choices.Number(
            "--latent", 2, 512, 32, "Side of the latent, even, 2 to 512; 32 is 256 tokens.");
        Option<int> rounds = Choices.Number("--rounds", 1, 1000, 5, "Repetitions, 1 to 1000; the best counts.");
        Option<int?> threads = Choices.NumberOrNone(
            "--threads", 1, 1024, "Threads of libtorch, 1 to 1024; by default one per core.");
        var experts = new Option<bool>("--experts") { Description = "Only the comparison of expert layers." };
        Option<int> sizes = Choices.Number(
            "--sizes", 1, ModelBench.ExpertSizes, ModelBench.ExpertSizes, "Sizes of expert layers, smallest first.");
        sizes.Hidden = true; // For tests, which must be fast.
        Option<FileInfo> json = Choices.Json();
        var command = new Command("model", "The bare network against this machine's matrix product.")
        {
            preset, batch, latent, rounds, threads, experts, sizes, json,
        };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            if (parsed.GetValue(threads) is { } count)
            {
                torch.set_num_threads(count);
            }

            int repeat = parsed.GetValue(rounds);
            var figures = new ModelFigures(
                parsed.GetValue(experts) ? null : ModelBench.Network(
                    parsed.GetValue(preset)!, parsed.GetValue(batch), parsed.GetValue(latent), repeat),
                ModelBench.Experts(repeat, parsed.GetValue(sizes)));
            Print(figures);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static Command Gpu()
    {
        Option<string> preset = Choices.Word("--preset", "Which network.", "XL_2", "Tiny_2");
        Option<string> device = Choices.Word(
            "--device", "Device; on cpu the loads are tiny, and only show that the bench runs.", "cuda", "cpu");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "gpu", "Denoiser, forward pass and training in bfloat16 against the matrix product; takes minutes.")
        {
            preset, device, json,
        };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            string where = parsed.GetValue(device)!;
            if (where == "cuda" && GpuBench.WhyNoGpu() is { } reason)
            {
                throw new UserErrorException(reason);
            }

            GpuFigures figures = Output.WithProgress(
                "measuring", progress => GpuBench.Measure(parsed.GetValue(preset)!, torch.device(where), progress));
            Print(figures);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static Command Batching()
    {
        Option<int> requests = Choices.Number("--requests", 4, 100_000, 40, "Requests per run.");
        Option<int> runs = Choices.Number("--runs", 1, 1000, 5, "Runs, whose medians are shown.");
        var device = new DeviceChoices();
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "batching", "Continuous batching against batches of whole requests and against one at a time.")
        {
            requests, runs, json,
        };
        device.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using var bench = new BatchingBench(
                device.Model(parsed), device.Options(parsed), parsed.GetValue(requests));
            IReadOnlyList<BatchingFigures> figures = await bench.RunAsync(
                parsed.GetValue(runs), part => Output.Remark($"{part:p0}"), cancellation);
            Output.Table(
                ["load", "way", "median, s", "p95, s", "pictures/s"],
                [
                    .. figures.Select(one => (IReadOnlyList<string>)
                    [
                        one.Load == 0 ? "all at once" : one.Load.ToString("p0", CultureInfo.InvariantCulture), one.Way,
                        Ratio(one.P50), Ratio(one.P95), Seconds(one.Throughput),
                    ]),
                ]);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static Command Overhead()
    {
        var cluster = new Option<string>("--cluster")
        {
            HelpName = "URL",
            Description = "A cluster of one device.",
            Required = true,
        };
        var key = new Option<string>("--key")
        {
            HelpName = "KEY",
            Description = "A key of that cluster.",
            Required = true,
        };
        Option<int> pictures = Choices.Number("--pictures", 1, 10_000, 40, "Pictures per turn.");
        Option<int> turns = Choices.Number("--turns", 1, 1000, 5, "Turns that are counted.");
        var device = new DeviceChoices();
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "overhead", "A cluster's throughput against that of a device without gateway and grains, in turns.")
        {
            cluster, key, pictures, turns, json,
        };
        device.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using var client = new ClusterClient(
                ClusterClient.ParseUrl("--cluster", parsed.GetRequiredValue(cluster)),
                ClusterClient.CheckKey("--key", parsed.GetRequiredValue(key)), TimeProvider.System)
            {
                Patience = new ClientPatience { Answer = TimeSpan.FromHours(1) },
            };
            using var bench = new OverheadBench(
                device.Model(parsed), device.Options(parsed), client, parsed.GetValue(pictures));
            OverheadFigures figures = await bench.RunAsync(parsed.GetValue(turns), Output.Remark, cancellation);
            Output.Table(
                ["turn", "device alone, pictures/s", "cluster, pictures/s", "ratio"],
                [
                    .. figures.Turns.Select((turn, i) => (IReadOnlyList<string>)
                    [
                        Text(i + 1), Seconds(turn.Bare), Seconds(turn.Cluster),
                        turn.Ratio.ToString("p1", CultureInfo.InvariantCulture),
                    ]),
                    ["median", "", "", figures.Ratio.ToString("p1", CultureInfo.InvariantCulture)],
                ]);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    // Options of the bench's device.
    private sealed class DeviceChoices
    {
        private readonly Option<DirectoryInfo> _folder = Choices.Path<DirectoryInfo>("--model", "The model's folder.");
        private readonly Option<int> _slots = Choices.Number(
            "--slots", 1, 1024, 8, "Maximum number of pictures in a batch.");
        private readonly Option<int> _rows = Choices.Number(
            "--rows", 1, 1024, TorchDeviceOptions.RowsStandard,
            "Batch size of a forward pass; a guided picture takes two rows, others one.");
        private readonly Option<int> _threads = Choices.Number("--threads", 1, 1024, 1, "Threads of libtorch.");

        public void AddTo(Command command)
        {
            _folder.DefaultValueFactory = _ => new DirectoryInfo(Home.At("models/shapes"));
            foreach (Option option in new Option[] { _folder, _slots, _rows, _threads })
            {
                command.Add(option);
            }
        }

        public DeviceModel Model(ParseResult parsed) =>
            DeviceModel.Open(parsed.GetRequiredValue(_folder).FullName, isDefault: true);

        public TorchDeviceOptions Options(ParseResult parsed) => new()
        {
            Slots = parsed.GetValue(_slots), Threads = parsed.GetValue(_threads), Rows = parsed.GetValue(_rows),
        };
    }

    private static void Print(GpuFigures figures)
    {
        double best = figures.MatmulBest;
        Output.Line($"{figures.Preset} in {figures.Precision} on {figures.Device}");
        Output.Table(
            ["what", "TFLOP", "ms", "TFLOP/s", "share of matmul"],
            [
                .. figures.Matmul.Select(m => Row($"matmul {m.Size}", new Timing(m.Flops, m.Seconds), null)),
                .. figures.Stages.SelectMany(s => (IReadOnlyList<string>[])
                [
                    Row($"forward, {s.Stage}, batch {s.Batch}", s.Forward, best),
                    s.TrainStep is { } step
                        ? Row($"train step, {s.Stage}, batch {s.Batch}", step, best)
                        : [$"train step, {s.Stage}, batch {s.Batch}", "", "out of memory", "", ""],
                ]),
            ]);
        Output.Line(
            $"Denoiser, guided, latent {figures.DenoiserLatent}, {GpuBench.Steps} steps: "
            + $"{(2 * GpuBench.Steps) - 1} evaluations a picture");
        Output.Table(
            ["batch", "ms an evaluation", "evaluations/s", "pictures/s", "TFLOP/s", "share of matmul"],
            [
                .. figures.Denoiser.Select(d => (IReadOnlyList<string>)
                [
                    Text(d.Batch), Milliseconds(d.Evaluation.Seconds), Ratio(d.Batch / d.Evaluation.Seconds),
                    Ratio(d.PicturesPerSecond), Tera(d.Evaluation.Rate), Share(d.Evaluation.Rate / best),
                ]),
            ]);

        static string[] Row(string name, Timing timing, double? best) =>
        [
            name, (timing.Flops / 1e12).ToString("f3", CultureInfo.InvariantCulture), Milliseconds(timing.Seconds),
            Tera(timing.Rate), best is null ? "" : Share(timing.Rate / best.Value),
        ];

        static string Milliseconds(double seconds) => (1e3 * seconds).ToString("f2", CultureInfo.InvariantCulture);
        static string Tera(double rate) => (rate / 1e12).ToString("f2", CultureInfo.InvariantCulture);
        static string Share(double share) => share.ToString("p1", CultureInfo.InvariantCulture);
    }

    private static void Print(ModelFigures figures)
    {
        if (figures.Network is { } network)
        {
            Output.Line($"{network.Preset}, batch {network.Batch}, {network.Tokens} tokens, {network.Threads} threads");
            Output.Table(
                ["what", "GFLOP", "seconds", "GFLOP/s", "share of matmul"],
                [
                    .. network.Matmul.Select(m => Row($"matmul {m.Size}", m.Flops, m.Seconds, null)),
                    Row("forward", network.Forward.Flops, network.Forward.Seconds, network.MatmulBest),
                    Row("train step", network.TrainStep.Flops, network.TrainStep.Seconds, network.MatmulBest),
                ]);
        }

        Output.Line("Expert layer: gather and scatter against the one-hot product, seconds");
        Output.Table(
            ["D", "F", "tokens", "batch", "gather", "one-hot", "ratio", "with gradients", "one-hot", "ratio"],
            [
                .. figures.Experts.Select(e => (IReadOnlyList<string>)
                [
                    Text(e.Width), Text(e.Hidden), Text(e.Tokens), Text(e.Batch), Seconds(e.Gather), Seconds(e.OneHot),
                    Ratio(e.OneHot / e.Gather), Seconds(e.GatherTraining), Seconds(e.OneHotTraining),
                    Ratio(e.OneHotTraining / e.GatherTraining),
                ]),
            ]);
    }

    private static string[] Row(string name, double flops, double seconds, double? best) =>
    [
        name, (flops / 1e9).ToString("f1", CultureInfo.InvariantCulture), Seconds(seconds),
        (flops / seconds / 1e9).ToString("f0", CultureInfo.InvariantCulture),
        best is null ? "" : (flops / seconds / best.Value).ToString("p1", CultureInfo.InvariantCulture),
    ];

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Seconds(double value) => value.ToString("f4", CultureInfo.InvariantCulture);

    private static string Ratio(double value) => value.ToString("f2", CultureInfo.InvariantCulture);
}

// atelier bench: measures speed and memory relative to what this machine can do.
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
        return new Command("bench", "Measures speed and memory, as ratios of figures from the same run.")
        {
            Model(), Memory(), Gpu(), Batching(), Overhead(), GoodputCommand.Create(),
            ElasticityCommand.Create(),
        };
    }

    private static Command Memory()
    {
        Option<string> preset = Choices.Word("--preset", "Preset of the network.", "XL_2", "Tiny_2");
        Option<FileInfo> weights = Choices.Path<FileInfo>(
            "--weights",
            "Safetensors file of the preset's weights; if it is missing, a separate process creates it from a formula.",
            required: true);
        Option<FileInfo> json = Choices.Json();
        var make = new Option<bool>("--make") { Description = "Only create the file.", Hidden = true };
        var command = new Command("memory", "Measures the peak memory of loading a network and evaluating it once.")
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
        Option<string> preset = Choices.Word("--preset", "Preset of the network.", "Tiny_2", "XL_2");
        Option<int> batch = Choices.Number("--batch", 1, 1024, 8, "Pictures per pass, 1 to 1024.");
        Option<int> latent = Choices.Number(
            "--latent", 2, 512, 32, "Side length of the latent, even, 2 to 512; 32 gives 256 tokens.");
        Option<int> rounds = Choices.Number("--rounds", 1, 1000, 5, "Repetitions, 1 to 1000; the best is shown.");
        Option<int?> threads = Choices.NumberOrNone(
            "--threads", 1, 1024, "libtorch threads, 1 to 1024; by default one per core.");
        var experts = new Option<bool>("--experts") { Description = "Only compare expert layers." };
        Option<int> sizes = Choices.Number(
            "--sizes", 1, ModelBench.ExpertSizes, ModelBench.ExpertSizes,
            "Number of expert layer sizes, smallest first.");
        sizes.Hidden = true; // For tests, which must be fast.
        Option<FileInfo> json = Choices.Json();
        var command = new Command("model", "Compares the speed of the bare network with this machine's matrix product.")
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
        Option<string> preset = Choices.Word("--preset", "Preset of the network.", "XL_2", "Tiny_2");
        Option<string> device = Choices.Word(
            "--device", "Device; on cpu the loads are tiny and only test that the bench runs.", "cuda", "cpu");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "gpu",
            "Compares denoiser, forward pass and training in bfloat16 with the matrix product; takes minutes.")
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
        Option<int> runs = Choices.Number("--runs", 1, 1000, 5, "Number of runs; their medians are shown.");
        var device = new DeviceChoices();
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "batching",
            "Compares continuous batching with batches of whole requests and with one request at a time.")
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
                ["load", "policy", "median, s", "p95, s", "pictures/s"],
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
            Description = "URL of a cluster that has one device.",
            Required = true,
        };
        var key = new Option<string>("--key")
        {
            HelpName = "KEY",
            Description = "API key for that cluster.",
            Required = true,
        };
        Option<int> pictures = Choices.Number("--pictures", 1, 10_000, 40, "Pictures per turn.");
        Option<int> turns = Choices.Number("--turns", 1, 1000, 5, "Number of turns, after a warm-up turn.");
        var device = new DeviceChoices();
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "overhead",
            "Compares a cluster's throughput with that of a device without gateway and grains, in alternation.")
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

    // Options for the device that a bench uses.
    private sealed class DeviceChoices
    {
        private readonly Option<DirectoryInfo> _folder = Choices.Path<DirectoryInfo>("--model", "The model's folder.");
        private readonly Option<int> _slots = Choices.Number(
            "--slots", 1, 1024, 8, "Maximum number of pictures in a batch.");
        private readonly Option<int> _rows = Choices.Number(
            "--rows", 1, 1024, TorchDeviceOptions.RowsStandard,
            "Batch size of a forward pass; a guided picture takes two rows, others one.");
        private readonly Option<int> _threads = Choices.Number("--threads", 1, 1024, 1, "libtorch threads.");

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
            ["operation", "TFLOP", "ms", "TFLOP/s", "share of matmul"],
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
            + $"{(2 * GpuBench.Steps) - 1} evaluations per picture");
        Output.Table(
            ["batch", "ms per evaluation", "evaluations/s", "pictures/s", "TFLOP/s", "share of matmul"],
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
                ["operation", "GFLOP", "seconds", "GFLOP/s", "share of matmul"],
                [
                    .. network.Matmul.Select(m => Row($"matmul {m.Size}", m.Flops, m.Seconds, null)),
                    Row("forward", network.Forward.Flops, network.Forward.Seconds, network.MatmulBest),
                    Row("train step", network.TrainStep.Flops, network.TrainStep.Seconds, network.MatmulBest),
                ]);
        }

        Output.Line("Expert layer: gather and scatter compared with the one-hot product, in seconds");
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

// atelier generate: draws pictures from a prompt.
using System.CommandLine;
using System.Globalization;
using Atelier.Cli.Cluster;
using Atelier.Model;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Model.Runtime;

namespace Atelier.Cli.Commands;

internal static class GenerateCommand
{
    private const int PicturesMax = 64;

    private const string StandardOutput = "-";

    private const string UrlVariable = "ATELIER_CLUSTER";
    private const string KeyVariable = "ATELIER_KEY";

    private static readonly string[] s_otherFormats =
        [".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"];

    public static Command Create()
    {
        var prompt = new Argument<string>("PROMPT") { Description = "Description of the picture." };
        var output = new Option<string>("--output", "-o")
        {
            HelpName = "FILE",
            Description = "PNG file; - means standard output. With several pictures, a number is added before the "
                + "extension.",
            Required = true,
        };
        Option<DirectoryInfo> model = Choices.Path<DirectoryInfo>(
            "--model", "Model folder; with --cluster, the name of one of the cluster's models.");
        model.DefaultValueFactory = _ => new DirectoryInfo(Home.At("models/shapes"));
        Option<ulong> seed = Choices.Number<ulong>(
            "--seed", 0, ulong.MaxValue, 0, "Seed of the first picture; it increases by one for each further picture.");
        Option<int?> steps = Choices.NumberOrNone(
            "--steps", 1, SamplerSettings.StepsMax, $"Steps, 1 to {SamplerSettings.StepsMax}; by default the model's.");
        Option<double?> guidance = Choices.NumberOrNone(
            "--guidance", 1.0, 100, "Guidance, 1 (none) to 100; by default the model's.");
        Option<string> size = Choices.Text(
            "--size", "Width and height in pixels, such as 256x256; auto means the model's size.", "auto");
        size.HelpName = "WxH";
        Option<int> count = Choices.Number(
            "--count", 1, PicturesMax, 1, $"Number of pictures, 1 to {PicturesMax}.", "-n");
        Option<double> churn = Choices.Churn();
        Option<string> negative = Choices.Text("--negative", "What the picture should not show.", "");
        Option<(double Low, double High)?> interval = Choices.GuidanceInterval();
        Option<string> noise = Choices.Word(
            "--noise", "Source of the initial noise; reference draws it as PyTorch does.", "seeded", "reference");
        var cluster = new Option<string>("--cluster")
        {
            HelpName = "URL",
            Description =
                $"URL of a cluster that draws instead of this machine; by default the value of {UrlVariable}.",
        };
        var key = new Option<string>("--key")
        {
            HelpName = "KEY", Description = $"API key for that cluster; by default the value of {KeyVariable}.",
        };
        var command = new Command("generate", "Draws pictures.")
        {
            prompt, output, model, seed, steps, guidance, size, count, churn, negative, interval, noise, cluster, key,
        };
        command.SetAction(async (parsed, cancellation) =>
        {
            int pictures = parsed.GetValue(count);
            string[] paths = OutputPaths(parsed.GetRequiredValue(output), pictures);
            if ((parsed.GetValue(cluster) ?? Environment.GetEnvironmentVariable(UrlVariable)) is { Length: > 0 } url)
            {
                RefuseLocalOptions(parsed, churn, interval, noise);
                var request = new ClusterRequest
                {
                    Prompt = parsed.GetRequiredValue(prompt),
                    Negative = parsed.GetValue(negative)!,
                    Model = parsed.GetResult(model) is { Implicit: false }
                        ? parsed.GetRequiredValue(model).ToString()
                        : null,
                    Seed = parsed.GetValue(seed),
                    Steps = parsed.GetValue(steps),
                    Guidance = parsed.GetValue(guidance),
                    Size = parsed.GetValue(size)!,
                };
                using ClusterClient client = Connect(url, parsed.GetValue(key));
                await RunAsync(client, request, paths, cancellation);
                return 0;
            }

            Libtorch.Load();
            StartNoise start = parsed.GetValue(noise) == "reference" ? StartNoise.Reference : StartNoise.Seeded;
            if (pictures > 1 && start == StartNoise.Reference)
            {
                throw new UserErrorException("--noise reference draws one picture at a time: omit -n.");
            }

            DirectoryInfo weights = parsed.GetRequiredValue(model);
            if (!weights.Exists)
            {
                throw new UserErrorException(
                    $"--model is \"{weights}\", but there is no such folder; see atelier models list.");
            }

            ModelFolder folder = ModelFolder.Open(weights.FullName);
            (double low, double high) = parsed.GetValue(interval) ?? (0, double.PositiveInfinity);
            var first = new GenerationRequest
            {
                Prompt = parsed.GetRequiredValue(prompt),
                Negative = parsed.GetValue(negative)!,
                Seed = parsed.GetValue(seed),
                Noise = start,
                Size = ParseSize(parsed.GetValue(size)!, folder.Resolution),
                Sampler = new SamplerSettings
                {
                    Steps = parsed.GetValue(steps) ?? folder.Steps,
                    Guidance = parsed.GetValue(guidance) ?? folder.Guidance,
                    SChurn = parsed.GetValue(churn),
                    GuidanceLow = low,
                    GuidanceHigh = high,
                },
            }.Checked(folder.Resolution);
            GenerationRequest[] requests =
                [.. Enumerable.Range(0, pictures).Select(i => first with { Seed = unchecked(first.Seed + (ulong)i) })];
            Run(folder, requests, paths, cancellation);
            return 0;
        });
        return command;
    }

    private static ClusterClient Connect(string url, string? key)
    {
        Uri where = ClusterClient.ParseUrl("--cluster", url);
        return (key ?? Environment.GetEnvironmentVariable(KeyVariable)) is { Length: > 0 } given
            ? new ClusterClient(where, ClusterClient.CheckKey("--key", given), TimeProvider.System)
            : throw new UserErrorException(
                $"--key KEY is missing: give a key of the cluster with --key or in {KeyVariable}.");
    }

    private static void RefuseLocalOptions(ParseResult parsed, params ReadOnlySpan<Option> options)
    {
        foreach (Option option in options)
        {
            if (parsed.GetResult(option) is { Implicit: false })
            {
                throw new UserErrorException(
                    $"{option.Name} applies only to pictures drawn on this machine, not by a cluster. Omit "
                    + $"{option.Name}, or omit --cluster and unset {UrlVariable}.");
            }
        }
    }

    private static async Task RunAsync(
        ClusterClient client, ClusterRequest request, string[] paths, CancellationToken cancellation)
    {
        IReadOnlyList<string> warnings = [];
        await Output.WithMeterAsync("drawing", async report =>
        {
            var drawing = new ClusterDrawing(client, TimeProvider.System, report);
            warnings = await drawing.RunAsync(request, paths.Length, (i, png) => Write(paths[i], png), cancellation);
        });
        Warn(warnings);
    }

    private static void Warn(IEnumerable<string?> warnings)
    {
        foreach (string warning in warnings.OfType<string>())
        {
            Output.Remark($"warning: {warning}");
        }
    }

    private static void Run(
        ModelFolder folder, GenerationRequest[] requests, string[] paths, CancellationToken cancellation)
    {
        string?[] warnings = [];
        IReadOnlyList<RgbImage> images = Output.WithProgress("drawing", progress =>
        {
            using TextToImage pipeline = TextToImage.Load(folder);
            bool leadsAway = requests[0].Sampler.Guidance != 1;
            warnings =
            [
                pipeline.Count(requests[0].Prompt).Warning("prompt"),
                leadsAway ? pipeline.Count(requests[0].Negative).Warning("negative prompt") : null,
            ];
            try
            {
                return pipeline.Generate(requests, progress, cancellation);
            }
            catch (NonFiniteException error)
            {
                throw new UserErrorException(
                    $"{error.Of(folder.Name)} No picture is written; atelier models inspect {folder.Path} checks every "
                    + "part.");
            }
        });
        Warn(warnings);
        for (int i = 0; i < images.Count; i++)
        {
            using var png = new MemoryStream();
            Png.Write(png, images[i].Pixels, images[i].Width, images[i].Height,
                [("parameters", requests[i].Parameters(folder))]);
            Write(paths[i], png.ToArray());
        }
    }

    private static void Write(string path, byte[] png)
    {
        if (path == StandardOutput)
        {
            using Stream standard = Console.OpenStandardOutput();
            standard.Write(png);
            return;
        }

        OutputFile.Write(path, png);
        Output.Remark(path);
    }

    private static string[] OutputPaths(string output, int count)
    {
        if (output == StandardOutput)
        {
            return (count, Output.IsTerminal) switch
            {
                (1, false) => [output],
                (1, true) => throw new UserErrorException(
                    "-o - would write a PNG file to the terminal: give a file name, or redirect standard output."),
                _ => throw new UserErrorException(
                    "Standard output takes only one picture: omit -n, or give a file name."),
            };
        }

        string ending = Path.GetExtension(output), stem = output[..^ending.Length];
        if (s_otherFormats.Contains(ending, StringComparer.OrdinalIgnoreCase))
        {
            throw new UserErrorException(
                $"-o is \"{output}\", but pictures are written as PNG: use {Path.GetFileName(stem)}.png.");
        }

        string[] paths = count == 1
            ? [output]
            : [.. Enumerable.Range(1, count).Select(i => $"{stem}-{i.ToString(CultureInfo.InvariantCulture)}{ending}")];
        foreach (string path in paths)
        {
            OutputFile.Check("-o", path);
        }

        return paths;
    }

    private static int ParseSize(string size, int resolution)
    {
        if (size == "auto")
        {
            return resolution;
        }

        return size == $"{resolution}x{resolution}"
            ? resolution
            : throw new UserErrorException($"--size is \"{size}\"; this model draws {resolution}x{resolution}.");
    }
}

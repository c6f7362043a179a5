// atelier generate: words in, pictures out.
using System.CommandLine;
using System.Globalization;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;

namespace Atelier.Cli.Commands;

internal static class GenerateCommand
{
    private const int PicturesMax = 64;

    public static Command Create()
    {
        var prompt = new Argument<string>("prompt") { Description = "What the picture shows." };
        var output = new Option<string>("--output", "-o") { Description = "PNG file; - is standard output. Several pictures get a number before the ending.", Required = true };
        var model = new Option<DirectoryInfo>("--model") { Description = "Model folder.", DefaultValueFactory = _ => new DirectoryInfo("models/shapes") };
        var seed = new Option<ulong>("--seed") { Description = "Seed of the first picture; the following have the following seeds.", DefaultValueFactory = _ => 0 };
        var steps = new Option<int?>("--steps") { Description = $"Steps, 1 to {SamplerSettings.StepsMax}; by default the model's." };
        var guidance = new Option<double?>("--guidance") { Description = "Guidance, 1 (none) to 100; by default the model's." };
        var size = new Option<string>("--size") { Description = "WIDTHxHEIGHT, or auto.", DefaultValueFactory = _ => "auto" };
        var count = new Option<int>("--count", "-n") { Description = $"Pictures, 1 to {PicturesMax}.", DefaultValueFactory = _ => 1 };
        var churn = new Option<double>("--churn") { Description = "Noise added while sampling; 0 is none.", DefaultValueFactory = _ => 0 };
        var negative = new Option<string>("--negative") { Description = "What the picture shall not show.", DefaultValueFactory = _ => "" };
        var interval = new Option<double[]>("--guidance-interval") { Description = "LOW HIGH: noise levels between which guidance acts.", Arity = new ArgumentArity(2, 2), AllowMultipleArgumentsPerToken = true };
        var noise = new Option<StartNoise>("--noise") { Description = "seeded, or reference to draw as torch does.", DefaultValueFactory = _ => StartNoise.Seeded };
        var command = new Command("generate", "Draws pictures.")
        {
            prompt, output, model, seed, steps, guidance, size, count, churn, negative, interval, noise,
        };
        command.SetAction((parsed, cancellation) =>
        {
            ModelFolder folder = ModelFolder.Open(parsed.GetRequiredValue(model).FullName);
            double[]? levels = parsed.GetValue(interval) is { Length: 2 } given ? given : null;
            int pictures = parsed.GetValue(count);
            if (pictures is < 1 or > PicturesMax)
            {
                throw new UserErrorException($"-n must lie in 1..{PicturesMax}, not be {pictures}.");
            }

            if (pictures > 1 && parsed.GetValue(noise) == StartNoise.Reference)
            {
                throw new UserErrorException("--noise reference draws one picture at a time: leave out -n.");
            }

            var first = new GenerationRequest
            {
                Prompt = parsed.GetRequiredValue(prompt),
                Negative = parsed.GetValue(negative)!,
                Seed = parsed.GetValue(seed),
                Noise = parsed.GetValue(noise),
                Size = ParseSize(parsed.GetValue(size)!, folder.Resolution),
                Sampler = new SamplerSettings
                {
                    Steps = parsed.GetValue(steps) ?? folder.Steps,
                    Guidance = parsed.GetValue(guidance) ?? folder.Guidance,
                    SChurn = parsed.GetValue(churn),
                    GuidanceLow = levels?[0] ?? 0,
                    GuidanceHigh = levels?[1] ?? double.PositiveInfinity,
                },
            }.Checked(folder.Resolution);
            GenerationRequest[] requests =
                [.. Enumerable.Range(0, pictures).Select(i => first with { Seed = unchecked(first.Seed + (ulong)i) })];
            Run(folder, requests, parsed.GetRequiredValue(output), cancellation);
            return Task.FromResult(0);
        });
        return command;
    }

    private static void Run(ModelFolder folder, GenerationRequest[] requests, string output, CancellationToken cancellation)
    {
        string[] paths = OutputPaths(output, requests.Length);
        IReadOnlyList<RgbImage> images = Output.WithProgress("drawing", progress =>
        {
            using TextToImage pipeline = TextToImage.Load(folder);
            return pipeline.Generate(requests, progress, cancellation);
        });
        for (int i = 0; i < images.Count; i++)
        {
            using var png = new MemoryStream();
            Png.Write(png, images[i].Pixels, images[i].Width, images[i].Height, [("parameters", requests[i].Parameters(folder))]);
            if (paths[i] == "-")
            {
                using Stream standard = Console.OpenStandardOutput();
                standard.Write(png.ToArray());
                continue;
            }

            File.WriteAllBytes(paths[i] + ".part", png.ToArray());
            File.Move(paths[i] + ".part", paths[i], overwrite: true);
            Output.Remark(paths[i]);
        }
    }

    private static string[] OutputPaths(string output, int count)
    {
        if (output == "-")
        {
            return count == 1 ? ["-"] : throw new UserErrorException("Only one picture fits standard output: leave out -n, or name a file.");
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(output))!;
        if (!Directory.Exists(folder))
        {
            throw new UserErrorException($"There is no folder {folder} to write to.");
        }

        string stem = output[..^Path.GetExtension(output).Length], ending = Path.GetExtension(output);
        return count == 1
            ? [output]
            : [.. Enumerable.Range(1, count).Select(i => $"{stem}-{i.ToString(CultureInfo.InvariantCulture)}{ending}")];
    }

    private static int ParseSize(string size, int resolution)
    {
        if (size == "auto")
        {
            return resolution;
        }

        string[] sides = size.Split('x');
        return sides.Length == 2 && sides[0] == sides[1]
            && int.TryParse(sides[0], NumberStyles.None, CultureInfo.InvariantCulture, out int side)
            ? side
            : throw new UserErrorException($"--size is {size}; this model draws {resolution}x{resolution}.");
    }
}

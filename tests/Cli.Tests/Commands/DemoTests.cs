// Goal: what ships matches its card, an evaluation counts what it shows, and the making of the demo model resumes from
// whatever is left of it. Method: the real program; the shipped model, and stages of two batches over the shipped
// parts.
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Atelier.Model.Pipeline;

namespace Atelier.Cli.Tests.Commands;

public sealed class DemoTests : IDisposable
{
    private const long ShippedBytesMax = 25 << 20;

    private static readonly string[] s_tasks =
        ["single", "colour", "two", "counting", "position", "attribution", "background", "style"];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task ShippedModel_IsWholeAndSmall_AndDrawsWhatIsAskedFor()
    {
        string model = InRepository("models/shapes");
        Assert.InRange(Directory.GetFiles(model).Sum(file => new FileInfo(file).Length), 1, ShippedBytesMax);
        ModelFolder opened = ModelFolder.Open(model);
        Assert.Empty(opened.DifferingFiles());
        string card = await File.ReadAllTextAsync(
            Path.Combine(model, "README.md"), TestContext.Current.CancellationToken);
        Assert.Contains(
            $"{opened.Steps} steps, guidance {opened.Guidance.ToString(CultureInfo.InvariantCulture)}", card);
        JsonNode scores = await EvaluateAsync(prompts: 64);
        Assert.InRange(Score(scores, "colour", "seen"), 0.75, 1); // Four of 0.94 each.
        Assert.InRange(Score(scores, "colour", "oracle"), 0.99, 1);
    }

    [Fact]
    public async Task Evaluation_CountsThePicturesThatItShows()
    {
        JsonNode report = await EvaluateAsync(prompts: 48, "--steps", "4", "--pictures", "sheets", "--seed", "5");
        foreach (string task in s_tasks)
        {
            Assert.Equal(3, (int)report[task]!["prompts"]!);
            foreach ((string half, string sheet) in new[] { ("seen", "seen"), ("heldOut", "held-out") })
            {
                string[] lines = await File.ReadAllLinesAsync(
                    _folder[$"sheets/{task}-{sheet}.txt"], TestContext.Current.CancellationToken);
                Assert.Equal(3, lines.Length);
                Assert.Equal(Score(report, task, half), lines.Count(line => line.Contains("  passed  ")) / 3.0, 1e-9);
            }
        }

        foreach (string half in new[] { "seen", "heldOut" })
        {
            Assert.Equal(s_tasks.Take(6).Average(task => Score(report, task, half)), Score(report, "mean", half), 1e-9);
        }

        // Every picture starts from different noise.
        string[] seeds =
        [
            .. Directory.GetFiles(_folder["sheets"], "*.txt").SelectMany(File.ReadAllLines).Select(
                line => line.Split("  ")[1]),
        ];
        Assert.Equal(48, seeds.Distinct().Count());
    }

    [Fact]
    public async Task Making_ResumesFromWhateverIsLeft_AndTheBestStageShips()
    {
        await WritePartsAsync();
        _folder.Write("stages/1.yaml", Stage("one", load: null));
        ProgramRun run = (await MakeAsync()).Succeeded();
        Assert.Contains("one: mean of six", run.Output);
        byte[] first = await File.ReadAllBytesAsync(
            _folder["out/shapes/denoiser.safetensors"], TestContext.Current.CancellationToken);
        Assert.True(File.Exists(_folder["out/oracle/oracle.safetensors"]));

        // A second stage, with nothing left but the model: the stage starts from its weights.
        Directory.Delete(_folder["work"], recursive: true);
        _folder.Write("stages/2.yaml", Stage("two", load: "work/one"));
        run = (await MakeAsync()).Succeeded();
        Assert.Contains("one: weights taken from", run.Error);
        Assert.DoesNotContain("one: 64 samples", run.Output);
        Assert.Contains("two: 64 samples", run.Output);
        JsonArray outcomes = (JsonArray)JsonNode.Parse(
            await File.ReadAllTextAsync(_folder["out/shapes/stages.json"], TestContext.Current.CancellationToken))!;
        Assert.Equal(["one", "two"], outcomes.Select(outcome => (string)outcome!["Stage"]!));
        JsonNode shipped = Assert.Single(outcomes, outcome => (bool)outcome!["Ships"]!)!;
        Assert.Equal(outcomes.Max(Mean), Mean(shipped));
        Assert.NotEqual(
            first,
            await File.ReadAllBytesAsync(
                _folder["out/shapes/denoiser.safetensors"], TestContext.Current.CancellationToken));
        string card = await File.ReadAllTextAsync(
            _folder["out/shapes/README.md"], TestContext.Current.CancellationToken);
        Assert.Contains("| one | 2 | 4 |", card);
        Assert.Contains("| two | 2 | 4 |", card);
        Assert.Empty(ModelFolder.Open(_folder["out/shapes"]).DifferingFiles());

        // Completed parts are not made again.
        Assert.DoesNotContain("two: 64 samples", (await MakeAsync()).Succeeded().Output);

        static double Mean(JsonNode? outcome) => (double)outcome!["MeanSeen"]! + (double)outcome["MeanHeldOut"]!;
    }

    [Fact]
    public async Task StagesThatDoNotAgreeOnTheirFolders_AreRefused()
    {
        _folder.Write("stages/1.yaml", Stage("one", load: null));
        _folder.Write(
            "stages/2.yaml",
            Stage("two", load: "work/one").Replace("work/latents", "elsewhere", StringComparison.Ordinal));
        (await MakeAsync()).FailedSaying("dataset.train.datadir");
        Assert.Equal(["stages", "stages/1.yaml", "stages/2.yaml"], _folder.Content);
    }

    private Task<ProgramRun> MakeAsync() => AtelierProgram.RunAsync(
        _folder.Path, "demo", "make", "--stages", "stages", "--out", "out", "--scenes", "64", "--prompts", "16");

    private async Task<JsonNode> EvaluateAsync(int prompts, params string[] more)
    {
        (await AtelierProgram.RunAsync(
            _folder.Path,
            [
                "eval", "shapes", "--model", InRepository("models/shapes"), "--oracle",
                InRepository("models/oracle/oracle.safetensors"),
                "--prompts", $"{prompts}", "--json", "scores.json", .. more,
            ])).Succeeded();
        return JsonNode.Parse(
            await File.ReadAllTextAsync(_folder["scores.json"], TestContext.Current.CancellationToken))!;
    }

    private static double Score(JsonNode report, string task, string member) => (double)report[task]![member]!;

    // The shipped parts, as a making run leaves them in its work folder.
    private async Task WritePartsAsync()
    {
        string model = InRepository("models/shapes"), parts = Directory.CreateDirectory(_folder["work/parts"]).FullName;
        JsonNode folder = JsonNode.Parse(
            await File.ReadAllTextAsync(Path.Combine(model, "model.json"), TestContext.Current.CancellationToken))!;
        foreach (string name in new[] { "autoencoder.safetensors", "clip.safetensors", "vocabulary.txt.gz" })
        {
            File.Copy(Path.Combine(model, name), Path.Combine(parts, name));
        }

        File.Copy(InRepository("models/oracle/oracle.safetensors"), Path.Combine(parts, "oracle.safetensors"));
        _folder.Write("work/parts/autoencoder.json", folder["autoencoder"]!["config"]!.ToJsonString());
        _folder.Write("work/parts/clip.json", folder["text_encoder"]!["config"]!.ToJsonString());
    }

    private static string Stage(string name, string? load) =>
        $"""
        exp_name: {name}
        seed: 3
        model:
          dit_arch: custom
          dim: 32
          depth: 2
          head_dim: 16
          multiple_of: 16
          patch_mixer_depth: 1
          patch_mixer_dim: 32
          num_experts: 4
          in_channels: 4
          caption_channels: 128
          latent_res: 16
          p_mean: 0
          p_std: 1
          train_mask_ratio: 0
          dtype: float32
        dataset:
          image_size: 64
          caption_length: 32
          train_batch_size: 4
          train:
            datadir: [work/latents]
        optimizer:
          lr: 1.0e-3
        trainer:
          max_duration: 2ba
          save_interval: 10ba
          device_train_microbatch_size: 4
          save_folder: work/{name}
          load_path: {load ?? "null"}
        panel:
          encoders: work/parts
          interval: 2ba
          sampling_steps: 1
          prompts: [a red circle]
        """;

    private static string InRepository(string path, [CallerFilePath] string file = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../../..", path));
}

// The whole making of the demo model: parts, latents, stages, scores. Each step leaves files, and is left out where they
// are there already.
using System.Globalization;
using System.Text;
using System.Text.Json;
using Atelier.Cli.Commands;
using Atelier.Model.Data;
using Atelier.Model.Diffusion;
using Atelier.Model.Pipeline;
using Atelier.Model.Training.Runs;
using Atelier.Shapes;
using Atelier.Shapes.Evaluating;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Making;
using TorchSharp;

namespace Atelier.Cli;

/// <summary>Makes the demo model.</summary>
/// <param name="work">Folder of what is made on the way. The stages' configurations name their folders themselves.</param>
/// <param name="stages">Folder of the stages' configurations.</param>
/// <param name="output">Folder that receives the models shapes and oracle.</param>
/// <param name="scenes">Scenes that the denoiser is trained on.</param>
/// <param name="prompts">Prompts by which the finished model is scored.</param>
internal sealed class DemoMaking(string work, string stages, string output, int scenes, int prompts)
{
    private const ulong SceneSeed = 18;
    private const int StagePrompts = 480;
    private static readonly int[] s_sides = [64, 128];

    // Chosen by the guidance sweep that docs/log.md shows.
    private static readonly SamplerSettings s_sampler = new() { Steps = 16, Guidance = 3 };

    private readonly DemoParts _parts = new(Path.Combine(work, "parts"));

    /// <summary>Makes what is missing.</summary>
    /// <returns>Whether all is made.</returns>
    public bool Run(CancellationToken cancellation)
    {
        MakeParts(cancellation);
        Precompute(cancellation);
        var scored = new List<(StageConfig Stage, StageScore Score)>();
        foreach (string path in TrainCommand.Stages(stages))
        {
            StageConfig stage = StageConfig.Read(path, []);
            if (!TrainCommand.Run(stage, cancellation))
            {
                return false;
            }

            scored.Add((stage, ScoreStage(stage, cancellation)));
        }

        StageConfig last = scored[^1].Stage;
        string shapes = Path.Combine(output, "shapes"), oracle = Path.Combine(output, "oracle");
        ModelFolder model = Assemble(last, shapes);
        Directory.CreateDirectory(oracle);
        File.Copy(_parts.OracleWeights, Path.Combine(oracle, Path.GetFileName(_parts.OracleWeights)), overwrite: true);
        ShapesScores scores = Evaluate(model, prompts, cancellation);
        File.WriteAllText(Path.Combine(shapes, "README.md"), Card(model, scores, scored));
        Output.Line($"{shapes}: mean of six {scores.MeanSeen:f3} seen, {scores.MeanHeldOut:f3} held out");
        return true;
    }

    private void MakeParts(CancellationToken cancellation)
    {
        // These networks are small: one thread each is faster than two that wait for each other.
        torch.set_num_threads(1);
        _parts.MakeVocabulary();
        Action[] makers =
        [
            () => _parts.TrainAutoencoder(report: DemoCommand.Report, cancellation: cancellation),
            () => _parts.TrainClip(report: DemoCommand.Report, cancellation: cancellation),
            () => _parts.TrainOracle(report: DemoCommand.Report, cancellation: cancellation),
        ];
        foreach (Action make in makers)
        {
            make();
        }

        torch.set_num_threads(Environment.ProcessorCount);
    }

    private void Precompute(CancellationToken cancellation)
    {
        string folder = Path.Combine(work, "latents");
        if (File.Exists(Path.Combine(folder, MdsIndex.FileName)))
        {
            return;
        }

        using var pictures = new ShapesPictures(SceneSeed, scenes);
        using Encoders encoders = Encoders.Load(Path.Combine(work, "parts"));
        encoders.Autoencoder.to(torch.ScalarType.BFloat16);
        encoders.Text.to(torch.ScalarType.BFloat16);
        var precompute = new Precompute(pictures, encoders.Autoencoder, encoders.Text, encoders.Tokenizer, s_sides, SceneSeed);
        Output.WithProgress("encoding", progress =>
        {
            precompute.Run(folder, Environment.ProcessorCount, done => progress((double)done / scenes), cancellation);
            return true;
        });
    }

    private ModelFolder Assemble(StageConfig stage, string folder)
    {
        var card = new DemoModelCard(
            "Atelier Shapes", $"trained by this project: atelier demo make, stage {stage.Name}", s_sampler.Steps, s_sampler.Guidance);
        return DemoModel.Assemble(
            _parts, Path.Combine(stage.Folder, TrainingRun.ResultFile), stage.Network, stage.Step.Edm, card, folder);
    }

    // What each stage gained is part of the card, so each is scored once, when it ends.
    private StageScore ScoreStage(StageConfig stage, CancellationToken cancellation)
    {
        string file = Path.Combine(stage.Folder, "scores.json");
        if (File.Exists(file))
        {
            return JsonSerializer.Deserialize<StageScore>(File.ReadAllText(file))!;
        }

        ModelFolder model = Assemble(stage, Path.Combine(stage.Folder, "model"));
        ShapesScores scores = Evaluate(model, StagePrompts, cancellation);
        var score = new StageScore(
            scores.MeanSeen, scores.MeanHeldOut, scores.Frechet, scores.Tasks.ToDictionary(t => t.Name, t => new double[] { t.Seen, t.HeldOut }));
        OutputFile.Write(file, JsonSerializer.SerializeToUtf8Bytes(score));
        Output.Line($"{stage.Name}: mean of six {scores.MeanSeen:f3} seen, {scores.MeanHeldOut:f3} held out");
        return score;
    }

    private ShapesScores Evaluate(ModelFolder model, int count, CancellationToken cancellation)
    {
        using Oracle oracle = Oracle.Load(_parts.OracleWeights);
        using var evaluation = new ShapesEvaluation(model, oracle);
        var settings = new ShapesEvaluationSettings { Prompts = count, Sampler = s_sampler };
        return Output.WithProgress("evaluating", progress => evaluation.Run(settings, null, progress, cancellation));
    }

    private static string Card(ModelFolder model, ShapesScores scores, List<(StageConfig Stage, StageScore Score)> stages)
    {
        var text = new StringBuilder();
        Add($"# {model.Name}");
        Add($"");
        Add($"Pictures of {model.Resolution} px of a small drawn world: 12 kinds of thing, 10 colours, 3 sizes, 7 backgrounds, 4 styles,");
        Add($"up to 4 things, 5 relations. Licence {model.Licence}. {model.DenoiserConfig.Depth} blocks of width {model.DenoiserConfig.Dim}.");
        Add($"");
        Add($"## Scores");
        Add($"");
        Add($"`./atelier eval shapes --prompts {scores.Tasks.Sum(t => 2 * t.Prompts)}`, {model.Steps} steps, guidance {model.Guidance}. Held out are combinations");
        Add($"that training never met. The oracle's own accuracy is that on true pictures, as drawn and after the autoencoder.");
        Add($"");
        Add($"| task | seen | held out | oracle | after autoencoder |");
        Add($"|---|---|---|---|---|");
        foreach (TaskScore task in scores.Tasks)
        {
            Add($"| {task.Name} | {task.Seen:f3} | {task.HeldOut:f3} | {task.Oracle:f3} | {task.OracleDecoded:f3} |");
        }

        Add($"| mean of the first six | **{scores.MeanSeen:f3}** | **{scores.MeanHeldOut:f3}** | | |");
        Add($"");
        Add($"Fréchet distance in this model's CLIP features {scores.Frechet:f4}; of two sets of true pictures {scores.FrechetTrue:f4}.");
        Add($"CLIP score {scores.ClipScore:f2}; of true pictures {scores.ClipScoreTrue:f2}. Autoencoder's PSNR {scores.Decibels:f2} dB.");
        Add($"");
        Add($"## Stages");
        Add($"");
        Add($"| stage | batches | pictures a batch | core hours | mean seen | mean held out | Fréchet |");
        Add($"|---|---|---|---|---|---|---|");
        foreach ((StageConfig stage, StageScore score) in stages)
        {
            double hours = TrainingReport.Seconds(stage) * Environment.ProcessorCount / 3600;
            Add($"| {stage.Name} | {stage.Steps} | {stage.Step.GlobalBatch} | {hours:f1} | {score.MeanSeen:f3} | {score.MeanHeldOut:f3} | {score.Frechet:f4} |");
        }

        return text.ToString();

        void Add(FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }

    private sealed record StageScore(
        double MeanSeen, double MeanHeldOut, double Frechet, IReadOnlyDictionary<string, double[]> Tasks);
}

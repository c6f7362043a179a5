// The whole making of the demo model: parts, latents, stages, scores. Each step leaves files, and is left out where they
// are there already.
using System.Text.Json;
using Atelier.Cli.Commands;
using Atelier.Model.Data;
using Atelier.Model.Diffusion;
using Atelier.Model.Pipeline;
using Atelier.Model.Runtime;
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
    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true };

    // Chosen by the guidance sweep that docs/log.md shows.
    private static readonly SamplerSettings s_sampler = new() { Steps = 16, Guidance = 4 };

    private readonly DemoParts _parts = new(Path.Combine(work, "parts"));

    private string Shapes => Path.Combine(output, "shapes");

    private string OracleFile => Path.Combine(output, "oracle", "oracle.safetensors");

    /// <summary>Makes what is missing. The model in the output folder is renewed after each stage that draws no worse.</summary>
    /// <returns>Whether all is made.</returns>
    public bool Run(CancellationToken cancellation)
    {
        StageConfig[] all = [.. TrainCommand.Stages(stages).Select(path => StageConfig.Read(path, []))];
        List<StageOutcome> outcomes = ReadOutcomes();
        TakeFromModel(all, outcomes);
        MakeParts(cancellation);
        Precompute(cancellation);
        foreach (StageConfig stage in all.Where(stage => outcomes.TrueForAll(outcome => outcome.Stage != stage.Name)))
        {
            if (!TrainCommand.Run(stage, cancellation))
            {
                return false;
            }

            outcomes = Publish(stage, outcomes, cancellation);
        }

        ModelFolder model = ModelFolder.Open(Shapes);
        ShapesScores scores = Evaluate(model, prompts, cancellation);
        DemoCard.Write(model, scores, outcomes, cancellation);
        Output.Line($"{Shapes}: mean of six {scores.MeanSeen:f3} seen, {scores.MeanHeldOut:f3} held out");
        return true;
    }

    // The weights that ship lie in the output folder, so that a lost work folder costs no more than the stages since.
    private void TakeFromModel(StageConfig[] all, List<StageOutcome> outcomes)
    {
        int shipped = outcomes.FindLastIndex(outcome => outcome.Ships);
        if (shipped < 0 || !File.Exists(Path.Combine(Shapes, ModelFolder.FileName)))
        {
            return;
        }

        ModelFolder model = ModelFolder.Open(Shapes);
        _parts.TakeFrom(model);
        if (!File.Exists(_parts.OracleWeights) && File.Exists(OracleFile))
        {
            File.Copy(OracleFile, _parts.OracleWeights);
        }

        string result = ResultOf(outcomes[shipped]);
        if (!File.Exists(result))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(result)!);
            File.Copy(model.PathOf(model.Denoiser), result);
            Output.Remark($"{outcomes[shipped].Stage}: taken from {Shapes}");
        }

        if (outcomes.Count < all.Length && !File.Exists(ResultOf(outcomes[^1])))
        {
            Output.Remark($"the stages after {outcomes[shipped].Stage} are trained again: their weights were not kept");
            outcomes.RemoveRange(shipped + 1, outcomes.Count - shipped - 1);
        }

        string ResultOf(StageOutcome outcome) => Path.Combine(
            Array.Find(all, stage => stage.Name == outcome.Stage)?.Folder
                ?? throw new UserErrorException($"{OutcomesFile} names the stage {outcome.Stage}, which {stages} does not hold."),
            TrainingRun.ResultFile);
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
        encoders.Autoencoder.to(Libtorch.FastPrecision);
        encoders.Text.to(Libtorch.FastPrecision);
        var precompute = new Precompute(pictures, encoders.Autoencoder, encoders.Text, encoders.Tokenizer, s_sides, SceneSeed);
        Output.WithProgress("encoding", progress =>
        {
            precompute.Run(folder, Environment.ProcessorCount, done => progress((double)done / scenes), cancellation);
            return true;
        });
    }

    private List<StageOutcome> Publish(StageConfig stage, List<StageOutcome> before, CancellationToken cancellation)
    {
        var card = new DemoModelCard(
            "Atelier Shapes", $"trained by this project: atelier demo make, stage {stage.Name}", s_sampler.Steps, s_sampler.Guidance);
        string weights = Path.Combine(stage.Folder, TrainingRun.ResultFile);
        ModelFolder candidate = DemoModel.Assemble(_parts, weights, stage.Network, stage.Step.Edm, card, Path.Combine(work, "candidate"));
        ShapesScores scores = Evaluate(candidate, StagePrompts, cancellation);
        double hours = TrainingReport.Seconds(stage) * Environment.ProcessorCount / 3600;
        var outcome = new StageOutcome(
            stage.Name, stage.Steps, stage.Step.GlobalBatch, hours, scores.MeanSeen, scores.MeanHeldOut, scores.Frechet, Ships: true);
        bool ships = before.TrueForAll(other => !other.Ships || other.Mean <= outcome.Mean);
        List<StageOutcome> outcomes =
            [.. before.Select(other => other with { Ships = other.Ships && !ships }), outcome with { Ships = ships }];
        if (ships)
        {
            ModelFolder model = DemoModel.Assemble(_parts, weights, stage.Network, stage.Step.Edm, card, Shapes);
            Directory.CreateDirectory(Path.GetDirectoryName(OracleFile)!);
            File.Copy(_parts.OracleWeights, OracleFile, overwrite: true);
            DemoCard.Write(model, scores, outcomes, cancellation);
        }

        OutputFile.Write(OutcomesFile, JsonSerializer.SerializeToUtf8Bytes(outcomes, s_readable));
        Output.Line($"{stage.Name}: mean of six {scores.MeanSeen:f3} seen, {scores.MeanHeldOut:f3} held out");
        return outcomes;
    }

    private string OutcomesFile => Path.Combine(Shapes, "stages.json");

    private List<StageOutcome> ReadOutcomes() => File.Exists(OutcomesFile)
        ? JsonSerializer.Deserialize<List<StageOutcome>>(File.ReadAllText(OutcomesFile))! : [];

    private ShapesScores Evaluate(ModelFolder model, int count, CancellationToken cancellation)
    {
        using Oracle oracle = Oracle.Load(_parts.OracleWeights);
        using var evaluation = new ShapesEvaluation(model, oracle);
        var settings = new ShapesEvaluationSettings { Prompts = count, Sampler = s_sampler };
        return Output.WithProgress("evaluating", progress => evaluation.Run(settings, null, progress, cancellation));
    }
}

// The pipeline that makes the demo model: parts, latents, stages, scores. Each step writes files, and is skipped if
// they exist.
using System.Text.Json;
using Atelier.Model.Data;
using Atelier.Model.Diffusion;
using Atelier.Model.Pipeline;
using Atelier.Model.Runtime;
using Atelier.Model.Training.Runs;
using Atelier.Shapes.Evaluating;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Making;
using TorchSharp;

namespace Atelier.Cli.Demo;

/// <summary>
/// Makes the demo model. Intermediate results are stored where the stages' configurations expect them.
/// </summary>
internal sealed class DemoMaking
{
    private const ulong SceneSeed = 18, StageSeed = 2, FinalSeed = 1;
    private const int StagePromptsMax = 480;
    private static readonly int[] s_sides = [64, 128];
    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true };

    // Chosen by the guidance sweep in docs/log.md.
    private static readonly SamplerSettings s_sampler = new() { Steps = 16, Guidance = 4 };

    private readonly StageConfig[] _stages;
    private readonly string _output;
    private readonly int _scenes;
    private readonly int _prompts;
    private readonly int _workers;
    private readonly torch.ScalarType _compute;
    private readonly string _partsFolder;
    private readonly DemoParts _parts;

    /// <summary>Prepares a run.</summary>
    /// <param name="stages">Folder of the stages' configurations.</param>
    /// <param name="output">Folder for the models shapes and oracle; existing ones are reused.</param>
    /// <param name="scenes">Scenes that the denoiser is trained on.</param>
    /// <param name="prompts">Number of prompts for scoring the finished model.</param>
    /// <param name="precision">
    /// Precision of training and encoding; null for the precision of each stage, and auto for the rest.
    /// </param>
    /// <param name="workers">Number of parts of the latents that are computed in parallel.</param>
    /// <exception cref="UserErrorException">
    /// The stages name different folders for the parts or for the latents.
    /// </exception>
    public DemoMaking(string stages, string output, int scenes, int prompts, string? precision, int workers)
    {
        string[] changes = precision is null ? [] : [$"model.dtype={precision}"];
        _stages = [.. StageFiles.Of(stages).Select(path => StageConfig.Read(path, changes))];
        (_output, _scenes, _prompts, _workers) = (output, scenes, prompts, workers);
        _compute = Precision.Parse(precision ?? Precision.Auto);
        string[] parts = [.. _stages.Select(stage => stage.Panel?.Encoders ?? "").Distinct()];
        if (parts is not [{ Length: > 0 }] || _stages.SelectMany(stage => stage.DataFolders).Distinct().Count() != 1)
        {
            throw new UserErrorException(
                $"The stages in {stages} must all name the same folder in panel.encoders, which receives the parts, "
                + "and the same folder in dataset.train.datadir, which receives the latents.");
        }

        _partsFolder = parts[0];
        _parts = new DemoParts(_partsFolder);
    }

    private string Shapes => Path.Combine(_output, "shapes");

    private string OracleFile => Path.Combine(_output, "oracle", "oracle.safetensors");

    private string Latents => _stages[0].DataFolders[0];

    /// <summary>
    /// Makes everything that is missing. The model in the output folder is replaced after each stage that does not draw
    /// worse than it.
    /// </summary>
    /// <returns>Whether everything is finished.</returns>
    public bool Run(CancellationToken cancellation)
    {
        List<StageOutcome> outcomes = ReadOutcomes();
        TakeFromModel(outcomes);
        MakeParts(cancellation);
        StageConfig[] missing =
            [.. _stages.Where(stage => outcomes.TrueForAll(outcome => outcome.Stage != stage.Name))];
        if (missing.Length > 0)
        {
            Precompute(cancellation);
        }

        foreach (StageConfig stage in missing)
        {
            if (!StageTraining.Run(stage, new StageOutput(), cancellation))
            {
                return false;
            }

            outcomes = Publish(stage, outcomes, cancellation);
        }

        ModelFolder model = ModelFolder.Open(Shapes);
        ShapesScores scores = Evaluate(model, _prompts, FinalSeed, cancellation);
        DemoCard.Write(model, scores, outcomes, cancellation);
        Output.Line($"{Shapes}: mean of six tasks {scores.MeanSeen:f3} seen, {scores.MeanHeldOut:f3} held out");
        return true;
    }

    // The output folder holds the shipped weights, so that losing the work folder costs only the stages trained after
    // them.
    private void TakeFromModel(List<StageOutcome> outcomes)
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
            Output.Remark($"{outcomes[shipped].Stage}: weights taken from {Shapes}");
        }

        if (outcomes.Count < _stages.Length && !File.Exists(ResultOf(outcomes[^1])))
        {
            Output.Remark(
                $"the stages after {outcomes[shipped].Stage} are trained again, because their weights were not kept");
            outcomes.RemoveRange(shipped + 1, outcomes.Count - shipped - 1);
        }

        string ResultOf(StageOutcome outcome) => Path.Combine(
            Array.Find(_stages, stage => stage.Name == outcome.Stage)?.Folder
                ?? throw new UserErrorException(
                    $"{OutcomesFile} names the stage {outcome.Stage}, which is not in the configurations."),
            StageResult.FileName);
    }

    private void MakeParts(CancellationToken cancellation)
    {
        // These networks are small, so one thread each is faster than two that wait for each other.
        int threads = torch.get_num_threads();
        torch.set_num_threads(1);
        _parts.MakeVocabulary();
        foreach (string name in new[] { "autoencoder", "clip", "oracle" })
        {
            DemoPartTraining.Run(_parts, name, _compute, cancellation);
        }

        torch.set_num_threads(threads);
    }

    private void Precompute(CancellationToken cancellation)
    {
        using var pictures = new ShapesPictures(SceneSeed, _scenes);
        using Encoders encoders = Encoders.Load(_partsFolder);
        encoders.Autoencoder.to(_compute);
        encoders.Text.to(_compute);
        var precompute = new Precompute(
            pictures, encoders.Autoencoder, encoders.Text, encoders.Tokenizer, s_sides, SceneSeed);
        IReadOnlyList<SkippedPicture> skipped = Output.WithProgress("encoding", progress => precompute.Run(
            Latents, _workers, done => progress((double)done / _scenes), cancellation));
        SkippedPictures.Report(skipped, Latents);
    }

    private List<StageOutcome> Publish(StageConfig stage, List<StageOutcome> before, CancellationToken cancellation)
    {
        var card = new DemoModelCard(
            "Atelier Shapes", $"trained by this project: atelier demo make, stage {stage.Name}", s_sampler.Steps,
            s_sampler.Guidance);
        string weights = Path.Combine(stage.Folder, StageResult.FileName);
        ModelFolder candidate = DemoModel.Assemble(
            _parts, weights, stage.Network, stage.StepSettings.Edm, card, Path.Combine(stage.Folder, "model"));
        ShapesScores scores = Evaluate(candidate, Math.Min(_prompts, StagePromptsMax), StageSeed, cancellation);
        double hours = TrainingReport.Seconds(stage) * Environment.ProcessorCount / 3600;
        var outcome = new StageOutcome(
            stage.Name, stage.Steps, stage.StepSettings.GlobalBatch, hours, scores.MeanSeen, scores.MeanHeldOut,
            scores.Frechet, Ships: true);
        bool ships = before.TrueForAll(other => !other.Ships || other.Mean <= outcome.Mean);
        List<StageOutcome> outcomes =
            [.. before.Select(other => other with { Ships = other.Ships && !ships }), outcome with { Ships = ships }];
        if (ships)
        {
            ModelFolder model = DemoModel.Assemble(
                _parts, weights, stage.Network, stage.StepSettings.Edm, card, Shapes);
            Directory.CreateDirectory(Path.GetDirectoryName(OracleFile)!);
            File.Copy(_parts.OracleWeights, OracleFile, overwrite: true);
            DemoCard.Write(model, scores, outcomes, cancellation);
        }

        OutputFile.Write(OutcomesFile, JsonSerializer.SerializeToUtf8Bytes(outcomes, s_readable));
        Output.Line($"{stage.Name}: mean of six tasks {scores.MeanSeen:f3} seen, {scores.MeanHeldOut:f3} held out");
        return outcomes;
    }

    private string OutcomesFile => Path.Combine(Shapes, "stages.json");

    private List<StageOutcome> ReadOutcomes() => File.Exists(OutcomesFile)
        ? JsonSerializer.Deserialize<List<StageOutcome>>(File.ReadAllText(OutcomesFile))! : [];

    // The prompts that select a stage differ from those that score the finished model.
    private ShapesScores Evaluate(ModelFolder model, int count, ulong seed, CancellationToken cancellation)
    {
        using Oracle oracle = Oracle.Load(_parts.OracleWeights);
        var settings = new ShapesEvaluationSettings { Prompts = count, Seed = seed, Sampler = s_sampler };
        using var evaluation = new ShapesEvaluation(model, oracle, settings);
        return Output.WithProgress("evaluating", progress => evaluation.Run(null, progress, cancellation));
    }
}

// The evaluation of a model on the demo world: the model draws prompts of every task, and the oracle judges the
// pictures.
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Evaluation;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Scenes;
using Atelier.Shapes.Training;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Shapes.Evaluating;

/// <summary>Settings of an evaluation.</summary>
public sealed record ShapesEvaluationSettings
{
    /// <summary>Total number of prompts, divided evenly among tasks and among seen and held-out combinations.</summary>
    public int Prompts { get; init; } = 1_600;

    /// <summary>Settings of the sampler.</summary>
    public required SamplerSettings Sampler { get; init; }

    /// <summary>Seed of the prompts and of the pictures.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Number of prompts per task and per kind of combination.</summary>
    public int PromptsEach =>
        Math.Max(1, (Prompts + (2 * EvaluationPrompts.Tasks.Count) - 1) / (2 * EvaluationPrompts.Tasks.Count));
}

/// <summary>A judged picture.</summary>
/// <param name="Prompt">Its prompt.</param>
/// <param name="Seed">Its seed.</param>
/// <param name="Image">The picture.</param>
/// <param name="Passed">Whether it passed its task.</param>
public sealed record JudgedPicture(EvaluationPrompt Prompt, ulong Seed, RgbImage Image, bool Passed);

/// <summary>Evaluates a model. Not thread-safe.</summary>
public sealed class ShapesEvaluation : IDisposable
{
    // Maximum number of pictures in a batch. Only their scores matter here, not their exact bytes.
    private const int ChunkMax = 32;

    private readonly ShapesEvaluationSettings _settings;
    private readonly int _chunk;
    private readonly TextToImage _pipeline;
    private readonly Encoders _encoders;
    private readonly ClipModel _clip;
    private readonly Oracle _oracle;
    private readonly ModelFolder _model;
    private readonly SceneRenderer _renderer = new();

    /// <summary>Loads a model; the caller keeps ownership of the oracle.</summary>
    /// <exception cref="RefusedFileException">
    /// The model is damaged, or the file of its text encoder does not contain an image encoder.
    /// </exception>
    public ShapesEvaluation(ModelFolder model, Oracle oracle, ShapesEvaluationSettings settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        (_model, _oracle, _settings, _chunk) = (model, oracle, settings, Math.Min(ChunkMax, settings.PromptsEach));
        _pipeline = TextToImage.Load(model, width: 2 * _chunk);
        _encoders = Encoders.Load(model.Path);
        _clip = new ClipModel(model.ClipConfig);
        Encoders.LoadWeights(_clip, model.PathOf(model.TextEncoder));
    }

    /// <summary>Draws and judges pictures of all prompts.</summary>
    /// <param name="look">Receives every picture.</param>
    /// <param name="progress">Receives the finished fraction.</param>
    /// <param name="cancellation">Stops the evaluation.</param>
    public ShapesScores Run(Action<JudgedPicture>? look, Action<double>? progress, CancellationToken cancellation)
    {
        using var generated = new FeatureStatistics(_model.ClipConfig.EmbedDim);
        using var truth = new FeatureStatistics(_model.ClipConfig.EmbedDim);
        using var otherTruth = new FeatureStatistics(_model.ClipConfig.EmbedDim);
        var likeness = new List<(double Generated, double True)>();
        var decibels = new List<double>();
        var tasks = new List<TaskScore>();
        int each = _settings.PromptsEach, total = 2 * EvaluationPrompts.Tasks.Count * each, done = 0;
        foreach (SceneTask task in EvaluationPrompts.Tasks)
        {
            var passed = new Dictionary<bool, int> { [false] = 0, [true] = 0 };
            (int plain, int spoiled, int decoded) = (0, 0, 0);
            foreach (bool heldOut in new[] { false, true })
            {
                EvaluationPrompt[] all = [.. EvaluationPrompts.Draw(_settings.Seed, task, heldOut, each)];
                EvaluationPrompt[] others = [.. EvaluationPrompts.Draw(_settings.Seed + 1, task, heldOut, each)];
                for (int first = 0; first < each; first += _chunk)
                {
                    EvaluationPrompt[] prompts = all[first..Math.Min(each, first + _chunk)];
                    ulong seed = _settings.Seed + (ulong)done;
                    RgbImage[] drawn = Generate(prompts, seed, cancellation);
                    RgbImage[] renderings =
                        [.. prompts.Select(prompt => _renderer.Render(prompt.Scene, _model.Resolution))];
                    RgbImage[] through = [.. renderings.Select(ThroughAutoencoder)];
                    bool[] verdicts = [.. Judged(prompts, drawn)];
                    passed[heldOut] += verdicts.Count(v => v);
                    plain += Judged(prompts, renderings).Count(v => v);
                    RgbImage[] damaged = [.. renderings.Select((image, i) => Spoiled(image, first + i, seed))];
                    spoiled += Judged(prompts, damaged).Count(v => v);
                    decoded += Judged(prompts, through).Count(v => v);
                    decibels.AddRange(renderings.Zip(through, Decibels));
                    likeness.AddRange(Compare(prompts, drawn, renderings, generated, truth));
                    using (Tensor features = Features(
                        [
                            .. others[first..Math.Min(each, first + _chunk)].Select(
                                p => _renderer.Render(p.Scene, _model.Resolution)),
                        ]))
                    {
                        otherTruth.Add(features);
                    }

                    for (int i = 0; i < prompts.Length; i++)
                    {
                        look?.Invoke(new JudgedPicture(prompts[i], seed + (ulong)i, drawn[i], verdicts[i]));
                    }

                    progress?.Invoke((double)(done += prompts.Length) / total);
                }
            }

            tasks.Add(new TaskScore(
                task, (double)passed[false] / each, (double)passed[true] / each, plain / (2.0 * each),
                spoiled / (2.0 * each),
                decoded / (2.0 * each), each));
        }

        return new ShapesScores(
            tasks, Frechet.Distance(generated, truth), Frechet.Distance(otherTruth, truth),
            likeness.Average(pair => pair.Generated), likeness.Average(pair => pair.True), decibels.Average());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pipeline.Dispose();
        _encoders.Dispose();
        _clip.Dispose();
        _renderer.Dispose();
    }

    private RgbImage[] Generate(EvaluationPrompt[] prompts, ulong seed, CancellationToken cancellation) =>
    [
        .. _pipeline.Generate(
            [
                .. prompts.Select((prompt, i) => new GenerationRequest
                {
                    Prompt = prompt.Caption.Text, Seed = seed + (ulong)i, Sampler = _settings.Sampler,
                    Size = _model.Resolution,
                }.Checked(_model.Resolution)),
            ],
            cancellation: cancellation),
    ];

    private IEnumerable<bool> Judged(EvaluationPrompt[] prompts, RgbImage[] images) => prompts.Zip(_oracle.Look(images))
        .Select(pair => Judge.Check(pair.First.Caption.Says, pair.Second).Passes(pair.First.Task));

    // Noise and blur alternate after every two prompts. If they alternated after each prompt, prompts with colors would
    // all get noise and those without all get blur, or the reverse.
    private static RgbImage Spoiled(RgbImage image, int number, ulong seed) =>
        Spoiling.Spoil(image, number / 2 % 2 == 0 ? Spoilage.Noise : Spoilage.Blur, seed, number);

    private RgbImage ThroughAutoencoder(RgbImage image)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        using LatentDistribution latents = _encoders.Autoencoder.Encode(Oracle.ToTensor([image]));
        return TextToImage.ToImage(_encoders.Autoencoder.Decode(latents.Mean));
    }

    // Adds both sets of pictures to their statistics, and returns the similarity of each to its prompt.
    private (double Generated, double True)[] Compare(
        EvaluationPrompt[] prompts, RgbImage[] drawn, RgbImage[] renderings, FeatureStatistics generated,
        FeatureStatistics truth)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        long[] ids = CaptionedScenes.Tokens(_encoders.Tokenizer, prompts.Select(prompt => prompt.Caption.Text));
        Tensor text = Finite.Check(
            ModelParts.TextEncoder,
            _clip.EncodeText(tensor(ids, [prompts.Length, _encoders.Tokenizer.ContextLength])));             // [N, E]
        Tensor ofDrawn = Features(drawn), ofTrue = Features(renderings);                                     // [N, E]
        generated.Add(ofDrawn);
        truth.Add(ofTrue);
        float[] first = ClipModel.Score(ofDrawn, text).diagonal().contiguous().data<float>().ToArray();
        float[] second = ClipModel.Score(ofTrue, text).diagonal().contiguous().data<float>().ToArray();
        return [.. first.Zip(second, (a, b) => ((double)a, (double)b))];
    }

    // [N, E], normalized.
    private Tensor Features(RgbImage[] images)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        int side = _model.ClipConfig.Vision.ImageSize;
        float[] pixels = [.. images.SelectMany(image => ClipPreprocess.Run(image, side))];
        Tensor features = Finite.Check(
            "image encoder", _clip.EncodeImage(tensor(pixels, [images.Length, 3, side, side])));             // [N, E]
        return functional.normalize(features, p: 2, dim: 1).MoveToOuterDisposeScope();
    }

    private static double Decibels(RgbImage a, RgbImage b)
    {
        double squared = 0;
        for (int i = 0; i < a.Pixels.Length; i++)
        {
            double error = a.Pixels[i] - b.Pixels[i];
            squared += error * error;
        }

        return 10 * Math.Log10(255 * 255 / Math.Max(squared / a.Pixels.Length, 1e-3));
    }
}

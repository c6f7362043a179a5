// The card of the demo model: its parts, their cost, and its scores.
using System.Globalization;
using System.Text;
using System.Text.Json.Serialization;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Shapes.Evaluating;

namespace Atelier.Cli.Demo;

/// <summary>The outcome of a stage.</summary>
/// <param name="Stage">Name of the stage.</param>
/// <param name="Batches">Batches trained.</param>
/// <param name="Pictures">Number of pictures in a batch.</param>
/// <param name="CoreHours">Duration of its steps in hours, times the machine's cores.</param>
/// <param name="MeanSeen">Mean score of six tasks after the stage, for combinations in the training data.</param>
/// <param name="MeanHeldOut">Mean score of six tasks after the stage, for held-out combinations.</param>
/// <param name="Frechet">Fréchet distance after the stage.</param>
/// <param name="Ships">Whether the model has this stage's weights, because no later stage draws better.</param>
/// <param name="Remark">How the training differed from the recipe; null if it did not.</param>
internal sealed record StageOutcome(
    string Stage, long Batches, int Pictures, double CoreHours, double MeanSeen, double MeanHeldOut, double Frechet,
    bool Ships, string? Remark = null)
{
    /// <summary>The score by which stages are compared.</summary>
    [JsonIgnore]
    public double Mean => (MeanSeen + MeanHeldOut) / 2;
}

/// <summary>Writes the card and its samples.</summary>
internal static class DemoCard
{
    /// <summary>File name of the card.</summary>
    public const string FileName = "README.md";

    private const string SamplesFile = "samples.png";
    private const ulong SamplesSeed = 1;
    private const int SampleColumns = 8;

    // Two prompts for each task, with the tasks in the order in which the scores list them.
    private static readonly string[] s_samples =
    [
        "a star", "a house on the ocean", "a red circle", "a purple fish", "a tree and a ring", "a heart and a moon",
        "two white squares", "three blue flowers", "a red star above a blue house",
        "a green cross to the left of a pink circle",
        "a yellow fish and a black heart", "an orange triangle and a blue ring", "a green tree in a meadow",
        "a yellow moon at night", "a pink flower, pixel art", "a cartoon of a purple house",
    ];

    /// <summary>Draws the samples with the model's settings, and writes them and the card to its folder.</summary>
    public static void Write(
        ModelFolder model, ShapesScores scores, IReadOnlyList<StageOutcome> stages, CancellationToken cancellation)
    {
        using TextToImage pipeline = TextToImage.Load(model, width: 2 * s_samples.Length);
        var sampler = new SamplerSettings { Steps = model.Steps, Guidance = model.Guidance };
        RgbImage sheet = pipeline.DrawSheet(
            s_samples, SamplesSeed, sampler, model.Resolution, SampleColumns, cancellation);
        using var png = new MemoryStream();
        Png.Write(png, sheet.Pixels, sheet.Width, sheet.Height, []);
        OutputFile.Write(Path.Combine(model.Path, SamplesFile), png.ToArray());
        OutputFile.Write(Path.Combine(model.Path, FileName), Encoding.UTF8.GetBytes(Text(model, scores, stages)));
    }

    private static string Text(ModelFolder model, ShapesScores scores, IReadOnlyList<StageOutcome> stages)
    {
        var text = new StringBuilder();
        Add($"# {model.Name}");
        Add($"");
        Part($"Pictures of a small drawn world, {model.Resolution} px wide and high: 12 kinds of things, 10 colors, ");
        Add($"3 sizes, 7 backgrounds, 4 styles, 1 to 4");
        Add($"things, 5 relations. Prompts are everyday English about these. License: {model.Licence}.");
        Add($"");
        Add($"| part | description |");
        Add($"|---|---|");
        var (denoiser, autoencoder) = (model.DenoiserConfig, model.AutoencoderConfig);
        Part($"| denoiser | MicroDiT, {denoiser.Depth} blocks of width {denoiser.Dim}, {denoiser.NumExperts} experts ");
        Add($"in alternate blocks, {denoiser.PatchMixerDepth} patch-mixer blocks |");
        Part($"| autoencoder | {autoencoder.Factor}x, {autoencoder.LatentChannels} channels, trained on renderings; ");
        Add($"its decoder was trained further on noisy latents |");
        Part($"| text encoder | CLIP of width {model.ClipConfig.Text.Width}, {model.ClipConfig.Text.Layers} layers, ");
        Add($"with its own byte-pair vocabulary, trained on renderings and captions |");
        Add($"");
        Add($"`./atelier demo make --out DIR` makes the whole model from scratch, from seeds, in an empty DIR;");
        Add($"existing results are reused. The stages' recipes are in configs/shapes. The section on stages says");
        Add($"how the training of these weights differed from them; docs/log.md has the cost of the parts.");
        Add($"");
        Add($"## Data");
        Add($"");
        Add($"This project generates scenes and captions from seeds. A scene shows one thing, two things, one to four");
        Add($"equal things, two things in a relation, or up to four things of any kind. Most scenes have a plain");
        Add($"background, two thirds have the flat style, and in about half of them things have the usual colors of");
        Add($"their kinds. A tenth of all combinations is held out of training: kinds in colors, on backgrounds, in");
        Add($"styles, in pairs, in numbers and in relations. Captions omit many details, as people do, above all the");
        Add($"usual ones (a plain background, the flat style, a kind's usual color: a tree is green).");
        Add($"");
        Add($"## Samples");
        Add($"");
        Add($"![Sixteen pictures of this model]({SamplesFile})");
        Add($"");
        Part($"All were drawn with seed {SamplesSeed} and the settings below, and none was selected: ");
        Add($"{string.Join("; ", s_samples)}.");
        Add($"");
        Add($"## Scores");
        Add($"");
        Part($"`./atelier eval shapes --prompts {scores.Tasks.Sum(t => 2 * t.Prompts)}`, {model.Steps} steps, ");
        Add($"guidance {model.Guidance}. Held-out combinations are not in");
        Add($"the training data. The last three columns are the oracle's own accuracy on true pictures: as rendered,");
        Add($"with noise or blur, and after encoding and decoding by the autoencoder.");
        Add($"");
        Add($"| task | seen | held out | oracle | oracle, noise or blur | oracle, autoencoder |");
        Add($"|---|---|---|---|---|---|");
        foreach (TaskScore task in scores.Tasks)
        {
            Part($"| {task.Name} | {task.Seen:f3} | {task.HeldOut:f3} | {task.Oracle:f3} | {task.OracleSpoiled:f3} | ");
            Add($"{task.OracleDecoded:f3} |");
        }

        Add($"| mean of the first six | **{scores.MeanSeen:f3}** | **{scores.MeanHeldOut:f3}** | | | |");
        Add($"");
        Part($"Fréchet distance in this model's CLIP features: {scores.Frechet:f4}; ");
        Add($"between two sets of true pictures: {scores.FrechetTrue:f4}.");
        Part($"CLIP score: {scores.ClipScore:f2}; of true pictures: {scores.ClipScoreTrue:f2}. ");
        Add($"PSNR of the autoencoder: {scores.Decibels:f2} dB.");
        Add($"");
        Add($"## Stages");
        Add($"");
        Add($"Each stage starts from the averaged weights of the previous one, with a new optimizer.");
        Part($"Scores are from 480 prompts. The model has the weights of {stages.Last(stage => stage.Ships).Stage}; ");
        Add($"no later stage scored better.");
        Add($"");
        Add($"| stage | batches | pictures per batch | core hours, at most | mean seen | mean held out | Fréchet |");
        Add($"|---|---|---|---|---|---|---|");
        foreach (StageOutcome stage in stages)
        {
            Part($"| {stage.Stage} | {stage.Batches} | {stage.Pictures} | {stage.CoreHours:f1} | ");
            Add($"{stage.MeanSeen:f3} | {stage.MeanHeldOut:f3} | {stage.Frechet:f4} |");
        }

        foreach (StageOutcome stage in stages.Where(stage => stage.Remark is not null))
        {
            Add($"");
            Add($"{stage.Stage}: {stage.Remark}");
        }

        Add($"");
        Add($"## Limits");
        Add($"");
        Add($"The model knows only this world: anything in a prompt beyond these kinds, colors, positions and styles");
        Add($"is ignored or misread. It cannot draw letters, faces or more than four things.");
        return text.ToString();

        void Add(FormattableString line)
        {
            Part(line);
            text.Append('\n');
        }

        void Part(FormattableString part) => text.Append(part.ToString(CultureInfo.InvariantCulture));
    }
}

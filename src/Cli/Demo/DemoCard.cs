// The card of the demo model: what it is, what it cost, what it is worth.
using System.Globalization;
using System.Text;
using System.Text.Json.Serialization;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Shapes.Evaluating;

namespace Atelier.Cli.Demo;

/// <summary>What came of a stage.</summary>
/// <param name="Stage">Name of the stage.</param>
/// <param name="Batches">Batches trained.</param>
/// <param name="Pictures">Pictures of a batch.</param>
/// <param name="CoreHours">Time of its steps times the machine's cores.</param>
/// <param name="MeanSeen">Mean score of six tasks after it, combinations that training met.</param>
/// <param name="MeanHeldOut">The same for combinations that training never met.</param>
/// <param name="Frechet">Fréchet distance after it.</param>
/// <param name="Ships">Whether its weights are the model's: they are as long as no later stage draws better.</param>
/// <param name="Remark">What was done otherwise than the recipe says, if anything was.</param>
internal sealed record StageOutcome(
    string Stage, long Batches, int Pictures, double CoreHours, double MeanSeen, double MeanHeldOut, double Frechet, bool Ships,
    string? Remark = null)
{
    /// <summary>The one figure by which stages are compared.</summary>
    [JsonIgnore]
    public double Mean => (MeanSeen + MeanHeldOut) / 2;
}

/// <summary>Writes the card, and the samples that it shows.</summary>
internal static class DemoCard
{
    /// <summary>Name of the card.</summary>
    public const string FileName = "README.md";

    private const string SamplesFile = "samples.png";
    private const ulong SamplesSeed = 1;
    private const int SampleColumns = 8;

    // Every task twice, in the order in which they are scored.
    private static readonly string[] s_samples =
    [
        "a star", "a house on the ocean", "a red circle", "a purple fish", "a tree and a ring", "a heart and a moon",
        "two white squares", "three blue flowers", "a red star above a blue house", "a green cross to the left of a pink circle",
        "a yellow fish and a black heart", "an orange triangle and a blue ring", "a green tree in a meadow",
        "a yellow moon at night", "a pink flower, pixel art", "a cartoon of a purple house",
    ];

    /// <summary>Draws the samples with the model's own settings, and writes them and the card into its folder.</summary>
    public static void Write(ModelFolder model, ShapesScores scores, IReadOnlyList<StageOutcome> stages, CancellationToken cancellation)
    {
        using TextToImage pipeline = TextToImage.Load(model, width: 2 * s_samples.Length);
        var sampler = new SamplerSettings { Steps = model.Steps, Guidance = model.Guidance };
        RgbImage sheet = pipeline.DrawSheet(s_samples, SamplesSeed, sampler, model.Resolution, SampleColumns, cancellation);
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
        Add($"Pictures of {model.Resolution} px of a small drawn world: 12 kinds of thing, 10 colours, 3 sizes, 7 backgrounds, 4 styles, 1 to 4");
        Add($"things, 5 relations. Prompts are everyday English about these. Licence: {model.Licence}.");
        Add($"");
        Add($"| part | what |");
        Add($"|---|---|");
        Add($"| denoiser | MicroDiT, {model.DenoiserConfig.Depth} blocks of width {model.DenoiserConfig.Dim}, {model.DenoiserConfig.NumExperts} experts in alternate blocks, {model.DenoiserConfig.PatchMixerDepth} patch-mixer blocks |");
        Add($"| autoencoder | {model.AutoencoderConfig.Factor}x, {model.AutoencoderConfig.LatentChannels} channels, trained on renderings; its decoder further on noisy latents |");
        Add($"| text encoder | CLIP of width {model.ClipConfig.Text.Width}, {model.ClipConfig.Text.Layers} layers, own byte-pair vocabulary, trained on renderings and captions |");
        Add($"");
        Add($"`./atelier demo make --out DIR` makes all of it from nothing in an empty DIR, with seeds; what DIR holds already is gone");
        Add($"on from. The stages' recipes are in configs/shapes; what these weights were trained by instead is below, and what the");
        Add($"parts cost in docs/log.md.");
        Add($"");
        Add($"## Data");
        Add($"");
        Add($"Scenes and captions are drawn by this project, from seeds: one thing, two, one to four alike, two in a relation, or up to");
        Add($"four of any sort; most on a plain ground, two thirds flat, about half in their kinds' usual colours. A tenth of all");
        Add($"combinations is held out of training: kinds in colours, before backgrounds, in styles, in pairs, in numbers and in");
        Add($"relations. Captions leave out much, as people do: what goes without saying (a plain ground, the flat style, a kind's usual");
        Add($"colour: a tree is green) mostly.");
        Add($"");
        Add($"## Samples");
        Add($"");
        Add($"![Sixteen pictures of this model]({SamplesFile})");
        Add($"");
        Add($"All with seed {SamplesSeed} and the settings below, none picked: {string.Join("; ", s_samples)}.");
        Add($"");
        Add($"## Scores");
        Add($"");
        Add($"`./atelier eval shapes --prompts {scores.Tasks.Sum(t => 2 * t.Prompts)}`, {model.Steps} steps, guidance {model.Guidance}. Held out are combinations that training never");
        Add($"met. The last three columns are the oracle's own accuracy on true pictures: as drawn, with noise or a blur, after the autoencoder.");
        Add($"");
        Add($"| task | seen | held out | oracle | oracle, noise or blur | oracle, autoencoder |");
        Add($"|---|---|---|---|---|---|");
        foreach (TaskScore task in scores.Tasks)
        {
            Add($"| {task.Name} | {task.Seen:f3} | {task.HeldOut:f3} | {task.Oracle:f3} | {task.OracleSpoiled:f3} | {task.OracleDecoded:f3} |");
        }

        Add($"| mean of the first six | **{scores.MeanSeen:f3}** | **{scores.MeanHeldOut:f3}** | | | |");
        Add($"");
        Add($"Fréchet distance in this model's CLIP features {scores.Frechet:f4}; between two sets of true pictures {scores.FrechetTrue:f4}.");
        Add($"CLIP score {scores.ClipScore:f2}; of true pictures {scores.ClipScoreTrue:f2}. PSNR of the autoencoder {scores.Decibels:f2} dB.");
        Add($"");
        Add($"## Stages");
        Add($"");
        Add($"Each starts from the averaged weights of the one before, with a fresh optimizer. Scores by 480 prompts. The weights are");
        Add($"those of {stages.Last(stage => stage.Ships).Stage}, after which no stage scored better.");
        Add($"");
        Add($"| stage | batches | pictures a batch | core hours, at most | mean seen | mean held out | Fréchet |");
        Add($"|---|---|---|---|---|---|---|");
        foreach (StageOutcome stage in stages)
        {
            Add($"| {stage.Stage} | {stage.Batches} | {stage.Pictures} | {stage.CoreHours:f1} | {stage.MeanSeen:f3} | {stage.MeanHeldOut:f3} | {stage.Frechet:f4} |");
        }

        foreach (StageOutcome stage in stages.Where(stage => stage.Remark is not null))
        {
            Add($"");
            Add($"{stage.Stage}: {stage.Remark}");
        }

        Add($"");
        Add($"## Limits");
        Add($"");
        Add($"It knows no other world: what a prompt says beyond these kinds, colours, places and styles is ignored or misread. More");
        Add($"than four things, letters and faces are beyond it.");
        return text.ToString();

        void Add(FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');
    }
}

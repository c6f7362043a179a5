// The quality of a CLIP model of the demo world on unseen scenes.
using Atelier.Model.Clip;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Training;
using static TorchSharp.torch;

namespace Atelier.Shapes.Making;

/// <summary>Retrieval accuracy between pictures and captions.</summary>
/// <param name="PictureToText">Fraction of pictures whose own caption is the most similar in the batch.</param>
/// <param name="TextToPicture">Fraction of captions whose own picture is the most similar in the batch.</param>
/// <param name="Twins">
/// Fraction of pictures whose own caption is more similar than the caption of a twin, a scene that differs in one fact.
/// </param>
/// <param name="TwinsByDifference">The same fraction by the kind of fact in which the twin differs.</param>
/// <param name="Pairs">Size of each of the four batches.</param>
public sealed record ClipScore(
    double PictureToText, double TextToPicture, double Twins, IReadOnlyDictionary<Difference, double> TwinsByDifference,
    int Pairs);

/// <summary>Measures CLIP models.</summary>
public static class ClipMeasure
{
    private const int Pairs = 256, Batches = 4;

    /// <summary>Scores a model in float32 on unseen scenes with detailed captions.</summary>
    public static ClipScore Score(ClipModel network, ClipTokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(tokenizer);
        using var noGradients = no_grad();
        using var renderer = new SceneRenderer();
        var scenes = new CaptionedScenes(AutoencoderMeasure.FreshSeed);
        var (toText, toPicture) = (0.0, 0.0);
        var twins = new List<(Difference Difference, bool IsRight)>();
        for (int batch = 0; batch < Batches; batch++)
        {
            using var scope = NewDisposeScope();
            (CaptionedScene Scene, CaptionedScene Twin, Difference? Difference)[] drawn =
                [.. Enumerable.Range(batch * Pairs, Pairs).Select(i => scenes.Twins(i))];
            Pictures pictures = Pictures.Render(
                renderer, [.. drawn.Select(d => d.Scene.Scene)], network.Config.Vision.ImageSize);
            Tensor image = network.EncodeImage(ClipTraining.Normalize(pictures));
            Tensor logits = network.Logits(image, Encode(network, tokenizer, drawn.Select(d => d.Scene)));   // [B, B]
            Tensor right = arange(Pairs);
            toText += (logits.argmax(1) == right).sum().item<long>();
            toPicture += (logits.argmax(0) == right).sum().item<long>();
            Tensor other = network.Logits(image, Encode(network, tokenizer, drawn.Select(d => d.Twin)));     // [B, B]
            float[] lead = (logits.diagonal() - other.diagonal()).data<float>().ToArray();
            twins.AddRange(drawn.Zip(lead).Where(pair => pair.First.Difference is not null)
                .Select(pair => (pair.First.Difference!.Value, pair.Second > 0)));
        }

        const double All = Pairs * Batches;
        return new ClipScore(
            toText / All, toPicture / All, twins.Average(twin => twin.IsRight ? 1 : 0),
            twins.GroupBy(twin => twin.Difference).OrderBy(group => group.Key)
                .ToDictionary(group => group.Key, group => group.Average(twin => twin.IsRight ? 1.0 : 0)),
            Pairs);
    }

    private static Tensor Encode(ClipModel network, ClipTokenizer tokenizer, IEnumerable<CaptionedScene> scenes) =>
        network.EncodeText(tensor(
            CaptionedScenes.Tokens(tokenizer, scenes.Select(scene => scene.Text)), [Pairs, tokenizer.ContextLength]));
}

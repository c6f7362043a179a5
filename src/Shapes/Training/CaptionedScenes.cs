// Scenes with captions for the contrastive training. Half of them form pairs that differ in one fact and have detailed
// captions; the other half are as in the training of the diffusion model.
using Atelier.Model.Clip;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Training;

/// <summary>A scene and a caption of it.</summary>
internal readonly record struct CaptionedScene(Scene Scene, string Text);

/// <summary>Draws captioned scenes of a seed. Safe for concurrent use.</summary>
internal sealed class CaptionedScenes(ulong seed)
{
    private readonly SceneSampler _sampler = new(seed), _bound = new(seed + SeedOffset);

    // Captions without pictures are of other scenes than those with pictures.
    private const ulong SeedOffset = 0x4249_4E44_494E_4753;

    private ulong BoundSeed => seed + SeedOffset;

    /// <summary>Draws scene number <paramref name="index"/>, with most of its details in the caption.</summary>
    public CaptionedScene Detailed(long index) => Describe(_sampler.Draw(index), index, 0);

    /// <summary>
    /// Draws scene number <paramref name="index"/> and its twin, with the same details in both captions.
    /// </summary>
    public (CaptionedScene Scene, CaptionedScene Twin, Difference? Difference) Twins(long index)
    {
        Scene scene = _sampler.Draw(index);
        (Scene twin, Difference? difference) = SceneVariation.Of(scene, new DrawStream(seed, Purpose.Variation, index));
        return (Describe(scene, index, 0), Describe(twin, index, 1), difference);
    }

    /// <summary>
    /// Draws a batch of <paramref name="count"/> scenes, a multiple of 4. The first half of them are pairs of twins.
    /// </summary>
    public CaptionedScene[] Batch(long step, int count)
    {
        long first = step * count;
        var batch = new CaptionedScene[count];
        for (int i = 0; i < count / 2; i += 2)
        {
            (batch[i], batch[i + 1], _) = Twins(first + i);
        }

        for (int i = count / 2; i < count; i++)
        {
            Scene scene = _sampler.Draw(first + i);
            batch[i] = new CaptionedScene(scene, Captioner.Write(scene, seed, 2 * (first + i)).Text);
        }

        return batch;
    }

    /// <summary>
    /// Draws the nouns of <paramref name="count"/> captions. Three of four say a relation, the others are as in the
    /// training of the diffusion model.
    /// </summary>
    public NounBatch Nouns(long step, int count, ClipTokenizer tokenizer) =>
        NounBatch.Of([.. Enumerable.Range(0, count).Select(i => Bound((step * count) + i, i % 4 < 3))], tokenizer);

    private Caption Bound(long index, bool isRelated)
    {
        if (!isRelated)
        {
            return Captioner.Write(_bound.Draw(index), BoundSeed, index);
        }

        var draw = new DrawStream(BoundSeed, Purpose.Binding, index);
        var mentions = new Mentions(
            Colors: draw.Chance(0.6), Sizes: draw.Chance(0.3), Background: draw.Chance(0.4), Style: draw.Chance(0.4),
            Relation: true);
        return Captioner.Write(_bound.Draw(index, SceneTask.Position, Split.Seen), mentions, BoundSeed, index);
    }

    /// <summary>The token ids of all captions, concatenated. Each caption is padded to the context length.</summary>
    public static long[] Tokens(ClipTokenizer tokenizer, IEnumerable<string> captions) =>
        [.. captions.SelectMany(tokenizer.Encode).Select(id => (long)id)];

    private CaptionedScene Describe(Scene scene, long index, int twin)
    {
        var draw = new DrawStream(seed, Purpose.Details, index);
        var mentions = new Mentions(
            Colors: true, Sizes: draw.Chance(0.4), Background: draw.Chance(0.8), Style: draw.Chance(0.8),
            Relation: true);
        return new CaptionedScene(scene, Captioner.Write(scene, mentions, seed, (2 * index) + twin).Text);
    }
}

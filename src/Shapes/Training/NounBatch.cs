// The nouns of a batch of captions, as a loss or a probe reads them.
using Atelier.Model.Clip;
using Atelier.Shapes.Captions;

namespace Atelier.Shapes.Training;

/// <summary>The nouns of captions.</summary>
/// <param name="Count">Number of captions.</param>
/// <param name="Ids">Their token ids, concatenated; each caption is padded to the context length.</param>
/// <param name="Places">For each noun, the index in <paramref name="Ids"/> of its last token.</param>
/// <param name="Facts">The facts of all nouns, concatenated; see <see cref="NounFacts.Facts"/>.</param>
internal sealed record NounBatch(int Count, long[] Ids, long[] Places, long[] Facts)
{
    /// <summary>Reads captions.</summary>
    public static NounBatch Of(IReadOnlyList<Caption> captions, ClipTokenizer tokenizer)
    {
        List<long> places = [], facts = [];
        for (int i = 0; i < captions.Count; i++)
        {
            foreach (NounFacts noun in NounFacts.Of(captions[i], tokenizer))
            {
                places.Add((i * tokenizer.ContextLength) + noun.Token);
                facts.AddRange(noun.Facts);
            }
        }

        return new NounBatch(
            captions.Count, CaptionedScenes.Tokens(tokenizer, captions.Select(caption => caption.Text)), [.. places],
            [.. facts]);
    }
}

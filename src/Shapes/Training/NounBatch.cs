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
    public static NounBatch Of(IEnumerable<Caption> captions, ClipTokenizer tokenizer)
    {
        List<long> ids = [], places = [], facts = [];
        int count = 0;
        foreach (Caption caption in captions)
        {
            foreach (NounFacts noun in NounFacts.Of(caption, tokenizer))
            {
                places.Add(ids.Count + noun.Token);
                facts.AddRange(noun.Facts);
            }

            ids.AddRange(tokenizer.Encode(caption.Text).Select(id => (long)id));
            count++;
        }

        return new NounBatch(count, [.. ids], [.. places], [.. facts]);
    }
}

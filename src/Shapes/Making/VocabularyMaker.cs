// The demo model's byte-pair vocabulary (Sennrich et al., arXiv 1508.07909), learned from captions of the demo world
// and written in CLIP's file format.
using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using Atelier.Model;
using Atelier.Model.Clip;
using Atelier.Shapes.Scenes;
using ICSharpCode.SharpZipLib.Zip.Compression;

namespace Atelier.Shapes.Making;

/// <summary>Settings for learning a vocabulary.</summary>
public sealed record VocabularyConfig
{
    /// <summary>Number of captions to learn from.</summary>
    public int Captions { get; init; } = 20_000;

    /// <summary>Maximum number of merges; there are fewer if every word becomes a single symbol before that.</summary>
    public int MergesMax { get; init; } = 1_000;

    /// <summary>Seed of scenes and captions.</summary>
    public ulong Seed { get; init; } = 11;
}

/// <summary>Learns merges. The same captions give the same bytes on every machine.</summary>
public static class VocabularyMaker
{
    private const string EndOfWord = "</w>";

    /// <summary>Writes a vocabulary that <see cref="ClipTokenizer"/> reads.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="path">The file. It is written as a temporary file first, and then renamed.</param>
    /// <returns>The number of merges.</returns>
    public static int Make(VocabularyConfig config, string path)
    {
        ArgumentNullException.ThrowIfNull(config);
        var sampler = new SceneSampler(config.Seed);
        IEnumerable<string> captions = Enumerable.Range(0, config.Captions)
            .Select(i => Captions.Captioner.Write(sampler.Draw(i), config.Seed, i).Text);
        List<string> merges = Learn(captions, config.MergesMax);
        WholeFile.Write(path, file => file.Write(Pack(merges)));
        return merges.Count;
    }

    /// <summary>
    /// Learns the merges of a text: the most frequent pair first, ties broken by character order. A pair is skipped if
    /// its symbol already exists, merged from another pair, because an id must be unambiguous.
    /// </summary>
    /// <param name="captions">The text, in ASCII.</param>
    /// <param name="most">Maximum number of merges.</param>
    /// <returns>Lines of a vocabulary file: two symbols separated by a space.</returns>
    /// <exception cref="ArgumentException">A word has characters beyond ASCII.</exception>
    public static List<string> Learn(IEnumerable<string> captions, int most)
    {
        ArgumentNullException.ThrowIfNull(captions);
        (List<string> Symbols, long Count)[] words =
            [
                .. captions.SelectMany(ClipTokenizer.Words).CountBy(word => word).Select(
                    pair => (ToSymbols(pair.Key), (long)pair.Value)),
            ];
        var merges = new List<string>();
        var symbols = new HashSet<string>(StringComparer.Ordinal);
        while (merges.Count < most && Best(words, symbols) is { } best)
        {
            symbols.Add(best.First + best.Second);
            merges.Add($"{best.First} {best.Second}");
            foreach ((List<string> word, _) in words)
            {
                Merge(word, best.First, best.Second);
            }
        }

        return merges;
    }

    private static List<string> ToSymbols(string word)
    {
        if (word.AsSpan().IndexOfAnyExceptInRange('!', '~') >= 0)
        {
            throw new ArgumentException(
                $"The word \"{word}\" has characters beyond ASCII, which captions of the demo world do not have.",
                nameof(word));
        }

        List<string> symbols = [.. word.Select(character => character.ToString())];
        symbols[^1] += EndOfWord;
        return symbols;
    }

    private static (string First, string Second)? Best(
        (List<string> Symbols, long Count)[] words, HashSet<string> symbols)
    {
        var counts = new Dictionary<(string First, string Second), long>();
        foreach ((List<string> word, long count) in words)
        {
            for (int i = 1; i < word.Count; i++)
            {
                (string, string) pair = (word[i - 1], word[i]);
                counts[pair] = counts.GetValueOrDefault(pair) + count;
            }
        }

        return counts.Where(pair => !symbols.Contains(pair.Key.First + pair.Key.Second))
            .OrderByDescending(pair => pair.Value)
            .ThenBy(pair => pair.Key.First, StringComparer.Ordinal)
            .ThenBy(pair => pair.Key.Second, StringComparer.Ordinal)
            .Select(pair => ((string, string)?)pair.Key)
            .FirstOrDefault();
    }

    private static void Merge(List<string> word, string first, string second)
    {
        for (int i = 0; i + 1 < word.Count; i++)
        {
            if (word[i] == first && word[i + 1] == second)
            {
                word[i] = first + second;
                word.RemoveAt(i + 1);
            }
        }
    }

    // A gzip file (RFC 1952) without name and time, from a compression library of a pinned version, so that its bytes
    // depend only on the text.
    private static byte[] Pack(List<string> merges)
    {
        byte[] text = Encoding.UTF8.GetBytes(string.Join('\n', merges.Prepend("#version: 0.2")) + "\n");
        var deflater = new Deflater(Deflater.BEST_COMPRESSION, noZlibHeaderOrFooter: true);
        deflater.SetInput(text);
        deflater.Finish();
        var packed = new byte[text.Length + 1024];
        int length = deflater.Deflate(packed);
        byte[] ends = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(ends, Crc32.HashToUInt32(text));
        BinaryPrimitives.WriteInt32LittleEndian(ends.AsSpan(4), text.Length);
        return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 255, .. packed.AsSpan(0, length), .. ends];
    }
}

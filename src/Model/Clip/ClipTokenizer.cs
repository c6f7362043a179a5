// The tokenizer of OpenCLIP (SimpleTokenizer of open_clip 2.24): it maps prompts to the token ids that the text tower
// was trained on. The ids equal those of the reference, except where the reference repairs text that Mojibake leaves
// unchanged.
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>
/// Splits a prompt into byte-pair tokens between a start mark and an end mark. Thread-safe. The ids follow the
/// vocabulary file: first 512 ids for bytes, then one for each merge in the order of the lines, then the start mark and
/// the end mark.
/// </summary>
public sealed class ClipTokenizer
{
    /// <summary>
    /// Context length of the published text towers: the number of ids per prompt, including the marks.
    /// </summary>
    public const int DefaultContextLength = 77;

    /// <summary>
    /// Maximum length of a prompt in UTF-16 code units, far beyond any context length. Longer prompts are refused.
    /// </summary>
    public const int PromptLengthMax = 1_000_000;

    /// <summary>
    /// Number of merges read from a file, as in the reference: the published file lists 262,144 of them, but the
    /// vocabulary of 49,408 entries consists of this many merges, the 512 byte symbols and the two marks. Later lines
    /// are ignored.
    /// </summary>
    public const int MergesMax = 49_408 - TokenMerges.ByteSymbols - 2;

    // The published file has 1.3 MiB, and 3 MiB when unpacked.
    private const int FileBytesMax = 16 << 20;

    // The cache holds the ids of words, because words repeat and most are short. A full cache is cleared.
    private const int CachedWordsMax = 1 << 15;
    private const int CachedWordLengthMax = 64;

    private const string EndOfWord = "</w>";

    private readonly ConcurrentDictionary<string, int[]> _cache = new();
    private readonly TokenMerges _merges;
    private readonly string[] _symbols;

    private ClipTokenizer(TokenMerges merges, string[] symbols, int contextLength)
    {
        _merges = merges;
        _symbols = symbols;
        ContextLength = contextLength;
    }

    /// <summary>Number of ids that <see cref="Encode"/> returns.</summary>
    public int ContextLength { get; }

    /// <summary>Number of ids in the vocabulary: 49,408 for the published one.</summary>
    public int VocabularySize => _symbols.Length;

    /// <summary>SHA-256 of all tokens in order; equal for tokenizers that split every prompt in the same way.</summary>
    public string Digest =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', _symbols))));

    /// <summary>The id that begins every prompt.</summary>
    public int StartId => _symbols.Length - 2;

    /// <summary>The id that ends every prompt.</summary>
    public int EndId => _symbols.Length - 1;

    /// <summary>Reads a vocabulary file, as <see cref="Load(Stream, string, int)"/> does.</summary>
    /// <param name="path">For example bpe_simple_vocab_16e6.txt.gz.</param>
    /// <param name="contextLength">Number of ids per prompt, including the marks; at least 2.</param>
    /// <exception cref="RefusedFileException">The file is not a vocabulary.</exception>
    public static ClipTokenizer Load(string path, int contextLength = DefaultContextLength)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        using FileStream file = File.OpenRead(path);
        return Load(file, path, contextLength);
    }

    /// <summary>Reads the vocabulary of a text encoder.</summary>
    /// <exception cref="RefusedFileException">
    /// The file is not a vocabulary, or does not belong to that encoder.
    /// </exception>
    public static ClipTokenizer Load(string path, ClipTextConfig encoder)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        ClipTokenizer tokenizer = Load(path, encoder.ContextLength);
        return tokenizer.VocabularySize == encoder.VocabSize
            ? tokenizer
            : throw new RefusedFileException(
                path, "merges",
                $"yield {tokenizer.VocabularySize} tokens, but the text encoder has {encoder.VocabSize}.");
    }

    /// <summary>
    /// Reads a vocabulary: UTF-8 text, compressed with gzip. The first line contains "#version". Every other line holds
    /// the two symbols of one merge, separated by a space; each symbol is a byte or the result of an earlier line.
    /// </summary>
    /// <param name="stream">The file's bytes.</param>
    /// <param name="name">The file's name for error messages.</param>
    /// <param name="contextLength">Number of ids per prompt, including the marks; at least 2.</param>
    /// <exception cref="RefusedFileException">The file is not a vocabulary.</exception>
    public static ClipTokenizer Load(Stream stream, string name, int contextLength = DefaultContextLength)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentOutOfRangeException.ThrowIfLessThan(contextLength, 2);
        string[] lines = Unpack(stream, name).Split('\n');
        if (!lines[0].Contains("#version", StringComparison.Ordinal))
        {
            throw new RefusedFileException(name, "line 1", "a vocabulary must begin with a #version line");
        }
        int merges = Math.Min(lines.Length - 1 - (lines[^1].Length == 0 ? 1 : 0), MergesMax);
        var symbols = new List<string>(Enumerable.Range(0, TokenMerges.ByteSymbols).Select(NameOfByteSymbol));
        var places = symbols.Select((symbol, place) => (symbol, place)).ToDictionary(s => s.symbol, s => s.place);
        var ranks = new Dictionary<(int First, int Second), int>(merges);
        for (int rank = 0; rank < merges; rank++)
        {
            AddMerge(lines[rank + 1], rank, symbols, places, ranks, reason =>
                new RefusedFileException(name, $"line {rank + 2}", reason));
        }
        symbols.Add(TokenWords.StartMark);
        symbols.Add(TokenWords.EndMark);
        return new ClipTokenizer(new TokenMerges(ranks), [.. symbols], contextLength);
    }

    /// <summary>
    /// The ids of a prompt, [<see cref="ContextLength"/>]: the result of <see cref="Tokenize"/>, padded with zeros.
    /// </summary>
    /// <inheritdoc cref="Tokenize" path="/param|/exception"/>
    public int[] Encode(string prompt)
    {
        int[] ids = Tokenize(prompt);
        Array.Resize(ref ids, ContextLength);
        return ids;
    }

    /// <summary>
    /// The ids of a prompt, from the start mark to the end mark. Longer prompts are cut to <see cref="ContextLength"/>
    /// ids, the last of which is the end mark.
    /// </summary>
    /// <param name="prompt">
    /// At most <see cref="PromptLengthMax"/> UTF-16 code units, which <see cref="TextCleaning.Clean"/> cleans first.
    /// </param>
    /// <exception cref="ArgumentException">The prompt is too long.</exception>
    public int[] Tokenize(string prompt)
    {
        string text = Cleaned(prompt);
        var ids = new List<int>(ContextLength) { StartId };
        int at = 0;
        // Words beyond the context have no effect, so they are not tokenized.
        while (ids.Count < ContextLength && TokenWords.TryNext(text, ref at, out ReadOnlySpan<char> word))
        {
            ids.AddRange(IdsOf(word));
        }
        ids.Add(EndId);
        if (ids.Count > ContextLength)
        {
            ids.RemoveRange(ContextLength, ids.Count - ContextLength);
            ids[^1] = EndId;
        }
        return [.. ids];
    }

    /// <summary>Counts the tokens of a prompt, and how many of them fit the context.</summary>
    /// <inheritdoc cref="Tokenize" path="/param|/exception"/>
    public TokenCount Count(string prompt)
    {
        string text = Cleaned(prompt);
        int room = ContextLength - 2, given = 0, cutAt = text.Length;
        for (int at = 0; TokenWords.TryNext(text, ref at, out ReadOnlySpan<char> word);)
        {
            bool fitted = given <= room;
            given += IdsOf(word).Length;
            if (fitted && given > room)
            {
                cutAt = at - word.Length;
            }
        }
        return new TokenCount(given, Math.Min(given, room), given > room ? Excerpt(text[cutAt..]) : null);
    }

    /// <summary>
    /// The words of a prompt after <see cref="TextCleaning.Clean"/>. Byte pairs merge within words, never across them.
    /// A vocabulary is learned from these words.
    /// </summary>
    public static IEnumerable<string> Words(string prompt)
    {
        string text = TextCleaning.Clean(prompt);
        for (int at = 0; NextWord(text, ref at) is { } word;)
        {
            yield return word;
        }
    }

    private static string? NextWord(string text, ref int at) =>
        TokenWords.TryNext(text, ref at, out ReadOnlySpan<char> word) ? word.ToString() : null;

    /// <summary>
    /// Converts ids to text: in lower case, with a space after each word and with the marks spelled out. Bytes that are
    /// not valid UTF-8 become U+FFFD.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var bytes = new List<byte>();
        foreach (int id in ids)
        {
            if (id < 0 || id >= VocabularySize)
            {
                throw new ArgumentOutOfRangeException(
                    nameof(ids), id, $"Ids of this vocabulary are 0 to {VocabularySize - 1}.");
            }
            bytes.AddRange(_symbols[id].Select(ByteOfCharacter));
        }
        return Encoding.UTF8.GetString([.. bytes]).Replace(EndOfWord, " ", StringComparison.Ordinal);
    }

    private static string Cleaned(string prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        return prompt.Length <= PromptLengthMax
            ? TextCleaning.Clean(prompt)
            : throw new ArgumentException(
                $"A prompt has at most {PromptLengthMax} UTF-16 code units; this one has {prompt.Length}.",
                nameof(prompt));
    }

    // Do not split a surrogate pair.
    private static string Excerpt(string text) => text.Length <= TokenCount.CutAtLengthMax
        ? text
        : text[..(TokenCount.CutAtLengthMax - (char.IsHighSurrogate(text[TokenCount.CutAtLengthMax - 1]) ? 1 : 0))];

    private int[] IdsOf(ReadOnlySpan<char> word)
    {
        switch (word)
        {
            case TokenWords.StartMark:
                return [StartId];
            case TokenWords.EndMark:
                return [EndId];
        }
        if (word.Length > CachedWordLengthMax)
        {
            return _merges.Apply(Encoding.UTF8.GetBytes(word.ToString()));
        }
        ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> cache =
            _cache.GetAlternateLookup<ReadOnlySpan<char>>();
        if (!cache.TryGetValue(word, out int[]? ids))
        {
            ids = _merges.Apply(Encoding.UTF8.GetBytes(word.ToString()));
            if (_cache.Count >= CachedWordsMax)
            {
                _cache.Clear();
            }
            cache[word] = ids;
        }
        return ids;
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Reading the vocabulary file.

    private static string Unpack(Stream stream, string name)
    {
        byte[] packed = ReadAll(stream, name, "packed");
        try
        {
            using var gzip = new GZipStream(new MemoryStream(packed), CompressionMode.Decompress);
            byte[] text = ReadAll(gzip, name, "unpacked");
            // A truncated file decompresses without an error, but its last four bytes do not match the decompressed
            // length.
            if (packed.Length < sizeof(uint)
                || BinaryPrimitives.ReadUInt32LittleEndian(packed.AsSpan(^sizeof(uint)..)) != text.Length)
            {
                throw new RefusedFileException(name, $"byte {packed.Length}", "the end of the gzip file is missing");
            }
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(text);
        }
        catch (InvalidDataException error)
        {
            throw new RefusedFileException(name, "gzip", "the file is not valid gzip", error);
        }
        catch (DecoderFallbackException error)
        {
            throw new RefusedFileException(name, $"unpacked byte {error.Index}", "a vocabulary must be UTF-8", error);
        }
    }

    private static byte[] ReadAll(Stream stream, string name, string what)
    {
        using var all = new MemoryStream();
        var buffer = new byte[1 << 16];
        for (int count; (count = stream.Read(buffer)) > 0;)
        {
            if (all.Length + count > FileBytesMax)
            {
                throw new RefusedFileException(name, $"{what} byte {FileBytesMax}", "the vocabulary is too long");
            }
            all.Write(buffer, 0, count);
        }
        return all.ToArray();
    }

    private static void AddMerge(
        string line,
        int rank,
        List<string> symbols,
        Dictionary<string, int> places,
        Dictionary<(int First, int Second), int> ranks,
        Func<string, RefusedFileException> refuse)
    {
        string[] halves = line.Split(' ');
        if (halves.Length != 2)
        {
            throw refuse("a merge must be two symbols separated by one space");
        }
        if (!places.TryGetValue(halves[0], out int first) || !places.TryGetValue(halves[1], out int second))
        {
            throw refuse("both symbols of a merge must be bytes or come from earlier lines");
        }
        string symbol = halves[0] + halves[1];
        if (!places.TryAdd(symbol, symbols.Count))
        {
            throw refuse($"the symbol {symbol} already exists, so its id would be ambiguous");
        }
        ranks.Add((first, second), rank);
        symbols.Add(symbol);
    }

    // The file represents a byte by the character of the same number if that character is printable. The characters
    // from U+0100 on represent the other bytes, in order.
    private static string NameOfByteSymbol(int symbol)
    {
        int place = symbol % 256;
        int character = place < PrintableBytes ? TokenMerges.ByteOf(place) : 256 + place - PrintableBytes;
        return (char)character + (symbol < 256 ? "" : EndOfWord);
    }

    private static byte ByteOfCharacter(char character) =>
        character < 256 ? (byte)character : TokenMerges.ByteOf(character - 256 + PrintableBytes);

    private const int PrintableBytes = 188;
}

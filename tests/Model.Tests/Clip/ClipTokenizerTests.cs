using System.IO.Compression;
using System.Text;
using Atelier.Model.Clip;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Clip;

// The tokenizer against byte-pair encoding written from its definition, and against damaged vocabularies and hostile
// prompts. Properties of every vocabulary are also tested with the published one if it is available.
public sealed class ClipTokenizerTests
{
    private static readonly Gen<string> Prompts = Gen.OneOf(
        Gen.String[0, 60],
        Gen.Int[0, 0x10FFFF].Where(c => c is < 0xD800 or > 0xDFFF).Select(char.ConvertFromUtf32).Array[0, 40]
            .Select(string.Concat),
        TextCleaningTests.Pieces(
            "&", "#", "x3", "amp", "lt", ";", "<", "\u001B[", "1", "m", "e", "\u0301", "Σ", "'s", " ", "\n"));

    private static readonly Lazy<ClipTokenizer> s_tokenizer = new(Load);

    private static ClipTokenizer Tokenizer => s_tokenizer.Value;

    [Fact]
    public void Tokenize_ReadsWronglyDecodedTextAsItWas() =>
        Assert.Equal(Tokenizer.Tokenize("schön"), Tokenizer.Tokenize("schÃ¶n"));

    // A long word may have to be dropped although some of its tokens fit: the cut is reported before it.
    [Fact]
    public void Count_AgreesWithWhatIsEncoded_ForAnyText() => Prompts.Sample(prompt =>
    {
        TokenCount count = Tokenizer.Count(prompt);
        int[] ids = Tokenizer.Tokenize(prompt);
        string cleaned = TextCleaning.Clean(prompt);
        return ids.Length == count.Used + 2 && count.Given >= count.Used
            && count.Given > 75 == (count.CutAt is not null)
            && (count.CutAt is null || (cleaned.Contains(count.CutAt, StringComparison.Ordinal)
                && count.CutAt.Length is > 0 and <= TokenCount.CutAtLengthMax
                    && !char.IsHighSurrogate(count.CutAt[^1])));
    });

    [Fact]
    public void Encode_HasIdsOfTheVocabularyBetweenTheMarks_ForAnyText() => Prompts.Sample(prompt =>
    {
        int[] ids = Tokenizer.Tokenize(prompt);
        int[] padded = Tokenizer.Encode(prompt);
        return ids[0] == Tokenizer.StartId && ids[^1] == Tokenizer.EndId && ids.Length <= 77 && padded.Length == 77
            && ids.All(id => id >= 0 && id < Tokenizer.VocabularySize)
                && padded.AsSpan(0, ids.Length).SequenceEqual(ids);
    });

    [Fact]
    public void Decode_GivesTheCleanedTextBack() => Prompts.Sample(prompt =>
    {
        int[] ids = Tokenizer.Tokenize(prompt);
        string words = string.Concat(Tokenizer.Decode(ids.AsSpan(1..^1)).Where(c => c != ' '));
        string cleaned = string.Concat(TextCleaning.Clean(prompt).Where(c => !char.IsWhiteSpace(c) && c != '\u0345'));
        // A long text is cut, possibly within a character.
        return ids.Length == 77
            ? cleaned.StartsWith(words.TrimEnd('\uFFFD'), StringComparison.Ordinal)
            : words == cleaned;
    });

    [Fact]
    public void Tokenize_ReadsOneWordOfAMillionLetters()
    {
        string word = string.Concat(Enumerable.Repeat("abcdefghij", ClipTokenizer.PromptLengthMax / 10));
        int[] ids = Tokenizer.Tokenize(word);
        Assert.Equal(Tokenizer.Tokenize(word[..10_000])[..^1], ids[..^1]);
    }

    [Fact]
    public void Tokenize_RefusesAPromptBeyondTheLimit()
    {
        ArgumentException error = Assert.Throws<ArgumentException>(
            () => Tokenizer.Tokenize(new string('a', ClipTokenizer.PromptLengthMax + 1)));
        Assert.Contains("at most 1000000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tokenize_IsTheSame_FromManyThreads_WhenTheCacheOverflows()
    {
        string[] prompts = [.. Enumerable.Range(0, 10_000).Select(i => $"w{i}a w{i}b w{i}c w{i}d")];
        int[][] together = new int[prompts.Length][];
        Parallel.For(0, prompts.Length, i => together[i] = Tokenizer.Tokenize(prompts[i]));
        ClipTokenizer fresh = Load();
        for (int i = 0; i < prompts.Length; i += 97)
        {
            Assert.Equal(fresh.Tokenize(prompts[i]), together[i]);
        }
    }

    [Fact]
    public void Load_TakesASmallVocabulary()
    {
        ClipTokenizer tokenizer = LoadLines(contextLength: 5, "#version: own", "c a", "ca t</w>", "o n");
        Assert.Equal((517, 515, 516), (tokenizer.VocabularySize, tokenizer.StartId, tokenizer.EndId));
        Assert.Equal([515, 513, 516, 0, 0], tokenizer.Encode("Cat"));
        Assert.Equal([515, 512, 256 + 'r' - '!', 513, 516], tokenizer.Encode("car cat on cat"));
        Assert.Equal([515, 514, 513, 516], tokenizer.Tokenize("oncat")); // "on" does not end the word
        Assert.Equal("oncat ", tokenizer.Decode([514, 513]));
    }

    [Fact]
    public void Tokenize_MergesAsTheDefinitionSays_WhateverTheMerges() =>
        Gen.Select(Gen.Int[0, 1 << 30], Gen.Char["abc"].Array[1, 40]).Sample((seed, letters) =>
        {
            List<string> merges = RandomMerges(seed);
            ClipTokenizer tokenizer = LoadLines(contextLength: 77, ["#version", .. merges]);
            int[] ids = tokenizer.Tokenize(new string(letters))[1..^1];
            return tokenizer.Decode(ids) == new string(letters) + " "
                && ids.Select(id => tokenizer.Decode([id]).Replace(" ", "</w>", StringComparison.Ordinal))
                    .SequenceEqual(MergeByDefinition(letters, merges));
        });

    public static TheoryData<string, string> DamagedVocabularies() => new()
    {
        { "c a\n", "line 1: a vocabulary must begin with a #version line" },
        { "#version\nc a\nc a t\n", "line 3: a merge must be two symbols" },
        { "#version\nca t\n", "line 2: both symbols of a merge must be bytes or come from earlier lines" },
        { "#version\na b\nb c\na bc\nab c\n", "line 5: the symbol abc already exists" },
        { "#version\n\na b\n", "line 2: a merge must be two symbols" },
    };

    [Theory]
    [MemberData(nameof(DamagedVocabularies))]
    public void Load_RefusesADamagedVocabulary_AndNamesTheLine(string text, string message)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        var error = Assert.Throws<RefusedFileException>(() => ClipTokenizer.Load(Pack(bytes), "v.gz"));
        Assert.StartsWith($"v.gz: {message}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_RefusesAFileThatIsNotGzippedText()
    {
        byte[] good = Pack(Encoding.UTF8.GetBytes("#version\na b\n")).ToArray();
        byte[] flipped = [.. good];
        flipped[^6] ^= 1; // in the checksum
        byte[][] files = [[], [1, 2, 3, 4, 5], good[..^1], good[..^8], flipped, Pack([(byte)'#', 0xFF]).ToArray()];
        foreach (byte[] file in files)
        {
            Assert.Throws<RefusedFileException>(() => ClipTokenizer.Load(new MemoryStream(file), "v.gz"));
        }
    }

    [Fact]
    public void Load_RefusesAFileThatUnpacksWithoutEnd()
    {
        var error = Assert.Throws<RefusedFileException>(() => ClipTokenizer.Load(Pack(new byte[17 << 20]), "v.gz"));
        Assert.Equal("unpacked byte 16777216", error.Place);
    }

    // In place of the published vocabulary: pairs of letters and of digits, some of which end a word, and pairs of
    // those.
    private static ClipTokenizer Load()
    {
        if (TokenizerVectors.HasPublished)
        {
            return TokenizerVectors.LoadPublished();
        }

        const string Letters = "etaoinshrdlucm0123456789";
        string[] pairs = [.. Letters.SelectMany(a => Letters.Select(b => $"{a}{b}"))];
        return LoadLines(
            ClipTokenizer.DefaultContextLength,
            [
                "#version", .. pairs.Select(pair => $"{pair[0]} {pair[1]}"),
                .. pairs.Select(pair => $"{pair[0]} {pair[1]}</w>"),
                .. pairs.Zip(pairs.Reverse(), (a, b) => $"{a} {b}"),
            ]);
    }

    // Merges of symbols over "abc" in an order that training would not produce: later ones may take precedence over
    // earlier ones.
    private static List<string> RandomMerges(int seed)
    {
        var random = new Random(seed);
        var symbols = new List<string> { "a", "b", "c", "a</w>", "b</w>", "c</w>" };
        var merges = new List<string>();
        for (int i = 0; i < 30; i++)
        {
            string first = symbols[random.Next(symbols.Count)], second = symbols[random.Next(symbols.Count)];
            if (!first.EndsWith('>') && !symbols.Contains(first + second))
            {
                symbols.Add(first + second);
                merges.Add($"{first} {second}");
            }
        }
        return merges;
    }

    private static List<string> MergeByDefinition(char[] letters, List<string> merges)
    {
        List<string> word = [.. letters.Select(c => c.ToString())];
        word[^1] += "</w>";
        while (true)
        {
            int[] ranks = [.. word.Zip(word.Skip(1), (a, b) => merges.IndexOf($"{a} {b}")).Where(rank => rank >= 0)];
            if (ranks.Length == 0)
            {
                return word;
            }
            for (int i = 0; i + 1 < word.Count; i++)
            {
                if ($"{word[i]} {word[i + 1]}" == merges[ranks.Min()])
                {
                    word[i] += word[i + 1];
                    word.RemoveAt(i + 1);
                }
            }
        }
    }

    private static ClipTokenizer LoadLines(int contextLength, params string[] lines) =>
        ClipTokenizer.Load(Pack(Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n")), "own.gz", contextLength);

    private static MemoryStream Pack(byte[] bytes)
    {
        var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(bytes);
        }
        packed.Position = 0;
        return packed;
    }
}

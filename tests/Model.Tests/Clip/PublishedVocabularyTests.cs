// Goal: prompts get the same ids as in the Python projects. Method: their ids, with CLIP's published vocabulary.
// Without it, these tests are skipped.
using System.Text.Json;
using Atelier.Model.Clip;
using Xunit;

namespace Atelier.Model.Tests.Clip;

public sealed class PublishedVocabularyTests
{
    private static ClipTokenizer Tokenizer => TokenizerVectors.Published;

    [Fact]
    public void Tokenize_GivesTheReferencesIds_ForItsPrompts()
    {
        JsonElement[] rows = [.. Reference().GetProperty("rows").EnumerateArray()];
        Assert.Equal(60, rows.Length);
        foreach (JsonElement row in rows)
        {
            AssertIds(row, "ids_without_padding");
        }
    }

    [Fact]
    public void Tokenize_GivesTheReferencesIds_ForPiecesOfEveryKind()
    {
        JsonElement[] rows = [.. TokenizerVectors.Read("prompts.json").EnumerateArray()];
        Assert.Equal(112, rows.Length);
        foreach (JsonElement row in rows)
        {
            AssertIds(row, "ids");
        }
    }

    [Fact]
    public void Encode_PadsWithZeros()
    {
        int[] ids = Tokenizer.Encode("a photograph of an astronaut riding a horse");
        Assert.Equal([49406, 320, 8853, 539, 550, 18376, 6765, 320, 4558, 49407], ids[..10]);
        Assert.Equal(new int[67], ids[10..]);
        Assert.Equal((49408, 49406, 49407, 77), (
            Tokenizer.VocabularySize, Tokenizer.StartId, Tokenizer.EndId, Tokenizer.ContextLength));
    }

    [Theory]
    [InlineData(74)]
    [InlineData(75)]
    [InlineData(76)]
    [InlineData(200)]
    public void Tokenize_CutsAtTheContext_AndKeepsTheEndMark(int words)
    {
        int[] ids = Tokenizer.Tokenize(string.Join(' ', Enumerable.Repeat("cat", words)));
        Assert.Equal(Math.Min(words + 2, 77), ids.Length);
        Assert.Equal(Tokenizer.EndId, ids[^1]);
        Assert.All(ids[1..^1], id => Assert.Equal(2368, id));
    }

    [Theory]
    [InlineData("", 0, 0, null)]
    [InlineData("CAT cat", 2, 2, null)]
    [InlineData("74 A Cat", 76, 75, "cat")]
    [InlineData("75", 75, 75, null)]
    [InlineData("75 Über &amp; 🎨🎨", 80, 75, "über & 🎨🎨")]
    [InlineData("200", 200, 75, "cat cat cat cat cat cat cat cat cat cat ")]
    public void Count_SaysHowMuchFitsAndWhereThePromptIsCut(string prompt, int given, int used, string? cutAt)
    {
        // A number stands for that many times "cat".
        string[] words = prompt.Split(' ', 2);
        string text = int.TryParse(words[0], out int cats)
            ? string.Join(' ', Enumerable.Repeat("cat", cats).Concat(words[1..])) : prompt;
        TokenCount count = Tokenizer.Count(text);
        Assert.Equal((used, cutAt), (count.Used, count.CutAt));
        Assert.True(count.Given == given || (cats == 75 && count.Given > 75), $"{count.Given}");
        Assert.Equal(cutAt is null, count.Warning("prompt") is null);
    }

    [Fact]
    public void Decode_RefusesIdsBeyondTheVocabulary()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Tokenizer.Decode([49408]));
        Assert.Throws<ArgumentOutOfRangeException>(() => Tokenizer.Decode([-1]));
        Assert.Equal("<start_of_text>cat <end_of_text>", Tokenizer.Decode([49406, 2368, 49407]));
    }

    private static JsonElement Reference() =>
        JsonSerializer.Deserialize<JsonElement>(File.ReadAllBytes(ReferenceData.At("clip", "tokenizer", "case.json")));

    private static void AssertIds(JsonElement row, string name)
    {
        string text = row.GetProperty("text").GetString()!;
        int[] expected = row.GetProperty(name).Deserialize<int[]>()!;
        Assert.True(
            expected.AsSpan().SequenceEqual(Tokenizer.Tokenize(text)),
            $"{JsonSerializer.Serialize(text)}\nwant {string.Join(' ', expected)}\n"
            + $"have {string.Join(' ', Tokenizer.Tokenize(text))}");
    }
}

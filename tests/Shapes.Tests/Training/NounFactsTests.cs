// Goal: the facts at a noun are those that the caption says, at the noun's last token. Method: captions of all
// patterns, whose facts are read back from the words around the nouns.
using Atelier.Model.Clip;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;
using Atelier.Shapes.Training;
using Xunit;

namespace Atelier.Shapes.Tests.Training;

public sealed class NounFactsTests
{
    private static readonly ClipTokenizer s_tokenizer =
        ClipTokenizer.Load(Repository.At("models/shapes/vocabulary.txt.gz"), 32);

    // The subject is a small red star, the object a house; the object's words come first in some patterns.
    [Theory]
    [InlineData("a small red star above a house", Relation.Above, Relation.Above, Relation.Below, false)]
    [InlineData("a house below a small red star.", Relation.Above, Relation.Above, Relation.Below, true)]
    [InlineData("A house on the left and a small red star on the right", Relation.RightOf, Relation.RightOf,
        Relation.LeftOf, true)]
    public void ARelation_IsToldFromBothSides(
        string text, Relation said, Relation ofStar, Relation ofHouse, bool isHouseFirst)
    {
        int house = text.IndexOf("house", StringComparison.Ordinal) + "house".Length;
        int star = text.IndexOf("star", StringComparison.Ordinal) + "star".Length;
        var caption = new Caption(text, new Expectation(
            [
                new ExpectedThings(ThingKind.Star, 1, ThingColor.Red, ThingSize.Small),
                new ExpectedThings(ThingKind.House, 1, null, null),
            ],
            new ExpectedRelation(said, ThingKind.Star, ThingKind.House), null, null))
        {
            NounEnds = [star, house],
        };
        NounFacts[] nouns = NounFacts.Of(caption, s_tokenizer);
        Assert.Equal(2, nouns.Length);
        (NounFacts atStar, NounFacts atHouse) = isHouseFirst ? (nouns[1], nouns[0]) : (nouns[0], nouns[1]);
        Assert.Equal("star ", TokenAt(text, atStar));
        Assert.Equal("house ", TokenAt(text, atHouse));
        long sentence = (long)(isHouseFirst ? ofHouse : ofStar);
        long[] expectedAtStar =
        [
            (long)ofStar, isHouseFirst ? 1 : 0, sentence, (long)ThingKind.House, NounFacts.Unknown,
            (long)ThingColor.Red, (long)ThingSize.Small, (long)ThingKind.Star, 0,
        ];
        long[] expectedAtHouse =
        [
            (long)ofHouse, isHouseFirst ? 0 : 1, sentence, (long)ThingKind.Star, (long)ThingColor.Red,
            NounFacts.Unknown, NounFacts.Unknown, (long)ThingKind.House, 0,
        ];
        Assert.Equal(expectedAtStar, atStar.Facts);
        Assert.Equal(expectedAtHouse, atHouse.Facts);
    }

    [Fact]
    public void Inside_HasAConverseOfItsOwn()
    {
        var sampler = new SceneSampler(3);
        NounFacts[] inside =
        [
            .. Enumerable.Range(0, 400)
                .Select(i => Captioner.Write(sampler.Draw(i, SceneTask.Position, Split.Seen), 3, i))
                .Where(caption => caption.Says.Relation?.Relation == Relation.Inside)
                .SelectMany(caption => NounFacts.Of(caption, s_tokenizer)),
        ];
        long[] directions = [.. inside.Select(noun => noun.Facts[(int)NounFact.Direction]).Distinct().Order()];
        Assert.Equal([(long)Relation.Inside, NounFacts.Values(NounFact.Direction) - 1], directions);
    }

    [Fact]
    public void NounsBeyondTheContext_AreLeftOut_AndWithoutARelationSoAreItsFacts()
    {
        string text = $"{string.Concat(Enumerable.Repeat("very ", 40))}red star and two trees";
        var caption = new Caption(text, new Expectation(
            [new ExpectedThings(ThingKind.Star, 1, null, null), new ExpectedThings(ThingKind.Tree, 2, null, null)],
            null, null, null))
        {
            NounEnds = [text.IndexOf(" and", StringComparison.Ordinal), text.Length],
        };
        Assert.Empty(NounFacts.Of(caption, s_tokenizer));

        text = "a star and two trees";
        caption = caption with { Text = text, NounEnds = ["a star".Length, text.Length] };
        NounFacts trees = NounFacts.Of(caption, s_tokenizer)[1];
        Assert.Equal("trees ", TokenAt(text, trees));
        Assert.Equal(
            [
                .. Enumerable.Repeat(NounFacts.Unknown, 7), (long)ThingKind.Tree, 1,
            ],
            trees.Facts);
    }

    private static string TokenAt(string text, NounFacts noun) =>
        s_tokenizer.Decode([s_tokenizer.Encode(text)[noun.Token]]);
}

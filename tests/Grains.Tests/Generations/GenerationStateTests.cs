// Goal: what a generation is predicted to cost, and which state an activation holds. Method: costs by hand; tags that
// are equal and not.
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Grains.Generations;
using Xunit;

namespace Atelier.Grains.Tests.Generations;

public sealed class GenerationStateTests
{
    private static readonly ModelCard s_card = new()
    {
        Digest = Story.Submission().Spec.Model, Name = "m", Sizes = [new PictureSize(64, 32), new PictureSize(8, 8)],
        Steps = 10, Guidance = 1, EncodeCost = 3, EvaluationCost = 100, DecodeCost = 7,
    };

    [Fact]
    public void Cost_AtTheNativeSize_IsTheCards() =>
        Assert.Equal(new GenerationCost(3, 100 * 19 / 10.0, 7), Cost(64, 32));

    [Fact]
    public void Cost_GrowsWithTheArea_AndThatOfWordsDoesNot() =>
        Assert.Equal(new GenerationCost(3, 6 * 100 * 19 / 10.0, 6 * 7), Cost(128, 96));

    [Fact]
    public void Guidance_TakesTwoRows_AndANegativePromptIsEncodedToo()
    {
        Assert.Equal(new GenerationCost(3, 2 * 100 * 19 / 10.0, 7), Cost(64, 32, guidance: 1.5));
        Assert.Equal(new GenerationCost(6, 2 * 100 * 19 / 10.0, 7), Cost(64, 32, guidance: 1.5, negative: "a dog"));
    }

    // Previews are decoded as pictures are; each step has its share of them.
    [Fact]
    public void Previews_AreSpreadOverTheSteps() =>
        Assert.Equal(
            new GenerationCost(3, (2 * 100 * 19 / 10.0) + (3 * 7 * 2 / 10.0), 2 * 7), Cost(128, 32, previews: 3));

    [Fact]
    public void AnotherTag_ReplacesTheState_AndTheSameOneKeepsWhatIsAhead()
    {
        var held = new TaggedState(new Story().State, "1");
        var read = new TaggedState(new GenerationState(), "2");
        Assert.Equal(read, held.After(read));
        Assert.Equal(held, held.After(read with { Tag = "1" }));
        Assert.Equal(read, (held with { Tag = null }).After(read));
        Assert.Equal(held with { Tag = null }, (held with { Tag = null }).After(read with { Tag = null }));
    }

    private static GenerationCost Cost(
        int width, int height, double guidance = 1, string negative = "", int previews = 0)
    {
        Submission submission = Story.Submission(previews);
        return GenerationCost.Of(s_card, submission with
        {
            Spec = submission.Spec with { Width = width, Height = height, Guidance = guidance, Negative = negative },
        });
    }
}

// Goal: a client that reconnects receives the events that follow, once, with the same numbers. Method: the events of
// hand-made states after every number.
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Generations;
using Xunit;

namespace Atelier.Grains.Tests.Generations;

public sealed class GenerationEventsTests
{
    [Theory]
    [InlineData(0, 10, new int[0])]
    [InlineData(1, 10, new[] { 5 })]
    [InlineData(2, 10, new[] { 3, 6 })]
    [InlineData(3, 10, new[] { 2, 5, 7 })]
    [InlineData(3, 4, new[] { 1, 2, 3 })]
    [InlineData(3, 3, new[] { 1, 2 })]
    [InlineData(3, 2, new[] { 1 })]
    [InlineData(3, 1, new int[0])]
    public void Previews_AreEvenlySpread_AndNoneIsAtTheLastStep(int previews, int steps, int[] at) =>
        Assert.Equal(at, GenerationEvents.PreviewSteps(Story.Submission(previews, steps)));

    [Fact]
    public void WithoutASubmission_NothingHappens() =>
        Assert.Empty(GenerationEvents.EventsAfter(new GenerationState(), EventNumber.Before));

    [Fact]
    public void EveryPhaseAndStep_IsAnEvent_InOrder()
    {
        Story story = new Story().Denoising();
        Assert.Equal(["0.0", "1.0", "2.0", "3.0"], Numbers(story, EventNumber.Before));
        story.Report(2, 3);
        Assert.Equal(["0.0", "1.0", "2.0", "3.0", "3.1", "3.2"], Numbers(story, EventNumber.Before));
        story.Complete("latent", 4);
        story.Claim(WorkKind.Decode, 5);
        story.Complete("picture", 6);
        string[] all =
        [
            "0.0", "1.0", "2.0", "3.0", .. Enumerable.Range(1, Story.Steps).Select(step => $"3.{step}"), "4.0", "5.0",
            "6.0",
        ];
        Assert.Equal(all, Numbers(story, EventNumber.Before));
    }

    [Fact]
    public void AfterAnyEvent_TheOnesThatFollow_AreLeft()
    {
        Story story = new Story().Decoding();
        story.Complete("picture", 6);
        GenerationEvent[] all = [.. GenerationEvents.EventsAfter(story.State, EventNumber.Before)];
        for (int i = 0; i < all.Length; i++)
        {
            Assert.Equal(all[(i + 1)..], GenerationEvents.EventsAfter(story.State, all[i].Number));
        }
    }

    [Fact]
    public void AStep_CarriesItsPreview_AndItsPlaceAmongThem()
    {
        Story story = new Story(previews: 3).Denoising();
        story.Report(6, 3, "s6", null, (2, "p2"), (5, "p5"));
        GenerationEvent[] steps =
        [
            .. GenerationEvents.EventsAfter(story.State, EventNumber.Of(GenerationPhase.Denoising)),
        ];
        Assert.Equal([1, 2, 3, 4, 5, 6], steps.Select(one => one.Step));
        Assert.All(steps, one => Assert.Equal((GenerationPhase.Denoising, Story.Steps), (one.Phase, one.Steps)));
        Assert.Equal(
            [(2, "p2", 0), (5, "p5", 1)],
            steps.Where(one => one.Preview is not null)
                .Select(one => (one.Step, one.Preview!.Value.Value, one.PreviewIndex)));
        Assert.All(steps.Where(one => one.Preview is null), one => Assert.Equal(0, one.PreviewIndex));
    }

    // Parking sets the phase back; a client that has received the event of denoising gets no event of the wait.
    [Fact]
    public void WorkThatIsParked_LeadsNoEventBack()
    {
        Story story = new Story().Denoising();
        story.Report(2, 3, "s2");
        string[] before = Numbers(story, EventNumber.Before);
        story.Release(2, 4);
        Assert.Equal(before, Numbers(story, EventNumber.Before));
        story.Claim(WorkKind.Denoise, 5);
        Assert.Equal(before, Numbers(story, EventNumber.Before));
    }

    [Fact]
    public void TheEnd_SaysHowItCame_AndItsNumberIsTheSameForAllEnds()
    {
        Story done = new Story().Decoding();
        done.Complete("picture", 6);
        GenerationEvent end = GenerationEvents.EventsAfter(done.State, EventNumber.Before).Last();
        Assert.Equal((GenerationPhase.Done, Story.Blob("picture")), (end.Phase, end.Picture));
        Assert.Equal((Story.Steps, Story.Steps, true), (end.Step, end.Steps, end.IsLast));

        Story failed = new Story().Denoising();
        failed.Fail(3, GenerationError.InvalidRequest, "Too wide.");
        GenerationEvent failure = GenerationEvents.EventsAfter(failed.State, EventNumber.Before).Last();
        Assert.Equal(
            (GenerationPhase.Failed, GenerationError.InvalidRequest, "Too wide.", null),
            (failure.Phase, failure.Error, failure.Message, failure.Picture));
        Assert.Equal(end.Number, failure.Number);

        Story cancelled = new Story();
        cancelled.Cancel(1, GenerationEvent.Abandoned);
        GenerationEvent last = GenerationEvents.EventsAfter(cancelled.State, EventNumber.Before).Last();
        Assert.Equal((end.Number, true), (last.Number, last.IsAbandoned));
        Assert.Equal(["0.0", "6.0"], Numbers(cancelled, EventNumber.Before));
    }

    private static string[] Numbers(Story story, EventNumber after) =>
        [.. GenerationEvents.EventsAfter(story.State, after).Select(one => one.Number.ToString())];
}

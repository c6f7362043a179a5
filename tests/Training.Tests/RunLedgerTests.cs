// Goal: the ledger counts every sample that was left out, lists each once and at most a thousand of them, and reports
// those that are new. Method: batches by hand.
using Xunit;

namespace Atelier.Training.Tests;

public sealed class RunLedgerTests
{
    [Fact]
    public void Report_ListsAThousandSamplesLeftOut_AndCountsTheOthers()
    {
        BadSample[] bad = [.. Enumerable.Range(0, 1001).Select(sample => new BadSample(sample, "latents", "NaN"))];
        (LeftOutSamples all, IReadOnlyList<LeftOutSample> added) =
            LeftOutSamples.None.With(4, bad, place => $"{place}");
        Assert.Equal((1001, 1000, 1000), (all.Times, all.Samples.Count, added.Count));
        Assert.All(all.Samples, sample => Assert.Equal((4, 1), (sample.Step, sample.Times)));

        (LeftOutSamples again, added) = all.With(9, [bad[5]], place => $"{place}");
        Assert.Equal((1002, 0), (again.Times, added.Count));
        Assert.Equal((4, 2), (again.Samples[5].Step, again.Samples[5].Times));
        Assert.Same(all, all.With(10, [], place => $"{place}").All);
    }

    [Fact]
    public void SampleThatIsLeftOutAgain_KeepsItsFirstStepPlaceAndColumn()
    {
        (LeftOutSamples first, _) = LeftOutSamples.None.With(4, [new BadSample(7, "latents", "NaN")], Place);
        (LeftOutSamples all, IReadOnlyList<LeftOutSample> added) = first.With(
            9, [new BadSample(7, "captions", "-infinity"), new BadSample(8, "latents", "NaN")], Place);
        Assert.Equal(
            [new LeftOutSample(7, "place 7", "latents", "NaN", 4, 2),
                new LeftOutSample(8, "place 8", "latents", "NaN", 9, 1)],
            all.Samples);
        Assert.Equal([all.Samples[1]], added);

        // A position that refers to the earlier list must not change with the later one.
        Assert.Equal(1, Assert.Single(first.Samples).Times);
    }

    [Fact]
    public void PlaceOfAListedSample_IsNotLookedUpAgain()
    {
        BadSample bad = new(7, "latents", "NaN");
        (LeftOutSamples all, _) = LeftOutSamples.None.With(4, [bad, bad], Place);
        Assert.Equal((2, 2), (all.Times, Assert.Single(all.Samples).Times));
        Assert.Equal(3, all.With(5, [bad], _ => throw new InvalidOperationException("looked up")).All.Times);
    }

    private static string Place(int sample) => $"place {sample}";
}

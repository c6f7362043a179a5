// Goal: bytes that a state no longer needs stay listed until they are released, and no byte is released that the state,
// or the claim in force, may need. Method: hand-made states, and random sequences of commands with a record of every
// blob.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Generations;
using Xunit;

namespace Atelier.Grains.Tests.Generations;

public sealed class GenerationBlobsTests
{
    [Fact]
    public void AReport_NamesItsSnapshot_ItsPreviews_AndWhatNoReportHadSaid()
    {
        var report = new StepReport
        {
            Epoch = 1, Step = 2, Snapshot = Story.Blob("s"), Untold = [Story.Blob("u")],
            Previews = new() { [1] = Story.Blob("p") },
        };
        Assert.Equal(["p", "s", "u"], Names(report.Blobs()));
        Assert.Empty(new StepReport { Epoch = 1, Step = 2 }.Blobs());
    }

    // Another worker is at work: it may be about to store the same bytes.
    [Fact]
    public void WhatComesLate_WaitsWhileAClaimIsInForce_AndIsReleasedAtItsEnd()
    {
        Story story = new Story().Denoising();
        story.Release(0, 3);
        story.Claim(WorkKind.Denoise, 4);
        Outcome<ReportOutcome> late = story.Report(3, 5, "late", epoch: 2);
        Assert.Equal((ReportOutcome.Refused, true), (late.Answer, late.Store));
        Assert.Empty(story.State.ToRelease);
        Assert.Equal(["late"], Names(story.State.Late));

        // The same late report again changes nothing.
        Outcome<ReportOutcome> again = story.Report(3, 6, "late", epoch: 2);
        Assert.Equal((false, 1), (again.Store, story.State.Late.Length));

        story.Report(4, 7, "s4");
        Assert.Equal(["late"], Names(story.State.Late));
        story.Release(4, 8);
        Assert.Equal(["late"], Names(story.State.ToRelease));
        Assert.Empty(story.State.Late);
    }

    [Fact]
    public void WhatComesLate_IsKept_WhenTheClaimInForceStoresTheSame()
    {
        Story story = new Story().Denoising();
        story.Release(0, 3);
        story.Claim(WorkKind.Denoise, 4);
        story.Report(3, 5, "s3", epoch: 2);
        story.Report(3, 6, "s3");
        Assert.Equal(Story.Blob("s3"), story.State.Snapshot);
        Assert.Empty(story.State.Late);
        Assert.Empty(story.State.ToRelease);
    }

    [Fact]
    public void WhatComesLate_WithoutAClaim_IsReleasedAtOnce()
    {
        Story story = new Story().Denoising();
        story.Release(0, 3);
        Outcome<ReportOutcome> late = story.Report(3, 4, "late", epoch: 1);
        Assert.Equal((ReportOutcome.Refused, true), (late.Answer, late.Store));
        Assert.Equal(["late"], Names(story.State.ToRelease));
        Assert.False(story.Report(3, 5, "late", epoch: 1).Store);
        Assert.Equal(["late"], Names(story.State.ToRelease));
    }

    [Fact]
    public void WhatComesLate_AfterTheEnd_IsNamed_ThoughItIsNotWorthAWrite()
    {
        Story story = new Story().Denoising();
        story.Cancel(3);
        Outcome<ReportOutcome> late = story.Report(3, 4, "late");
        Assert.Equal((ReportOutcome.Refused, false), (late.Answer, late.Store));
        Assert.Equal(["caption", "late"], Names(story.State.ToRelease));
    }

    // Blobs that are to be released when another worker claims may be stored again by that worker, which does the same
    // work.
    [Fact]
    public void ANewClaim_HoldsBackWhatWasToBeReleased()
    {
        Story story = new Story().Denoising();
        story.Report(2, 3, "s2");
        story.Report(4, 4, "s4");
        Assert.Equal(["s2"], Names(story.State.ToRelease));
        story.Release(4, 5);
        Assert.Equal(["s2"], Names(story.State.ToRelease));
        story.Claim(WorkKind.Denoise, 6);
        Assert.Empty(story.State.ToRelease);
        Assert.Equal(["s2"], Names(story.State.Late));

        // The same claim once more changes nothing.
        story.ClaimAgain(WorkKind.Denoise, 7);
        Assert.Equal(["s2"], Names(story.State.Late));
    }

    // Every blob that was ever named is either needed, to be released, or waiting, and never two of these. While a
    // claim is in force, the blobs to be released are its own.
    [Fact]
    public void WhateverHappens_NoBlobIsForgotten_AndNoneThatIsNeededIsReleased()
    {
        for (int seed = 0; seed < 500; seed++)
        {
            var random = new Random(seed);
            var story = new Story(new GenerationOptions { QuarantineAfter = 100, FailuresMax = 100 }, previews: 1);
            HashSet<BlobName> named = [];
            for (int i = 0; i < 60; i++)
            {
                long epoch = Math.Max(0, story.State.Epoch - (random.Next(3) / 2));
                int step = random.Next(1, Story.Steps + 1);
                string blob = $"b{random.Next(12)}";
                bool isTold = false;
                switch (random.Next(10))
                {
                    case 0 or 1:
                        if (story.State.IsOpen)
                        {
                            string device = random.Next(4) == 0 ? "cuda" : "cpu";
                            story.Claim(story.Item().Kind, 100 * (i + 1), $"w{i}", device: device);
                        }

                        break;
                    case 2 or 3 or 4:
                        story.Report(step, 100 * i, blob, epoch);
                        isTold = true;
                        break;
                    case 5:
                        story.Report(step, 100 * i, blob, epoch, (5, $"p{random.Next(3)}"));
                        isTold = true;
                        break;
                    case 6 when random.Next(3) == 0:
                        story.Complete(blob, 100 * i, epoch);
                        isTold = true;
                        break;
                    case 7:
                        story.Release(step, 100 * i, blob, epoch);
                        isTold = true;
                        break;
                    case 8:
                        story.Fail(100 * i, epoch: epoch);
                        break;
                    case 9 when random.Next(20) == 0:
                        story.Delete(100 * i);
                        break;
                    default:
                        break;
                }

                if (isTold)
                {
                    named.Add(Story.Blob(blob));
                }

                HashSet<BlobName> needed = [.. story.State.Needed()];
                Assert.Empty(needed.Intersect(story.State.ToRelease));
                Assert.Empty(needed.Intersect(story.State.Late));
                Assert.Empty(story.State.Late.Intersect(story.State.ToRelease));
                Assert.Equal(story.State.ToRelease.Distinct().Count(), story.State.ToRelease.Length);
                Assert.Equal(story.State.Late.Distinct().Count(), story.State.Late.Length);
                Assert.True(
                    needed.Concat(story.State.ToRelease).Concat(story.State.Late).ToHashSet().IsSupersetOf(named),
                    $"seed={seed}: a blob is forgotten after {i} commands");
            }
        }
    }

    private static IEnumerable<string> Names(IEnumerable<BlobName> blobs) => blobs.Select(blob => blob.Value).Order();
}

// Goal: a worker takes as much as its device can hold, and work that is returned to the queue has the remaining steps.
// Method: jobs without a device.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Tests.Queueing;
using Atelier.Grains.Workers;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

public sealed class WorkerJobTests
{
    [Theory]
    [InlineData(4, 0, 0, 0, 4)]
    [InlineData(4, 3, 0, 0, 1)]
    [InlineData(4, 4, 0, 0, 0)]
    [InlineData(4, 5, 0, 0, 0)]
    [InlineData(4, 2, 1, 0, 2)]
    [InlineData(4, 2, 2, 0, 0)]
    [InlineData(4, 1, 2, 0, 1)]
    [InlineData(4, 0, 3, 0, 1)]
    [InlineData(4, 0, 0, 4, 4)]
    [InlineData(4, 0, 0, 5, 3)]
    [InlineData(4, 3, 0, 4, 1)]
    [InlineData(4, 0, 2, 5, 1)]
    public void Room_IsLeft_BesidePictures_CaptionsAndDecodings_AndWhatIsBeingStored(
        int slots, int pictures, int singles, int ended, int free)
    {
        WorkerJob[] jobs =
        [
            .. Enumerable.Range(0, pictures).Select(_ => Job()),
            .. Enumerable.Range(0, singles).Select(i => Job(i % 2 == 0 ? WorkKind.Encode : WorkKind.Decode)),
            .. Enumerable.Range(0, ended).Select(_ => Ended()),
        ];
        Assert.Equal(free, WorkerJob.FreeBeside(jobs, slots));
    }

    [Fact]
    public void BesideWorkThatRunsAlone_NothingFits_UntilItsSnapshotIsStored()
    {
        WorkerJob job = Job(alone: true);
        Assert.Equal(0, WorkerJob.FreeBeside([job, Job()], 4));
        Assert.True(job.EndQuarantine());
        Assert.False(job.Item.Alone);
        Assert.Equal(2, WorkerJob.FreeBeside([job, Job()], 4));
        Assert.False(job.EndQuarantine());
    }

    [Fact]
    public void AWorker_HoldsABoundedNumber_WhateverItsSlots()
    {
        WorkerJob[] jobs = [.. Enumerable.Range(0, WorkerTurn.HeldMax - 3).Select(_ => Ended())];
        Assert.Equal(3, WorkerJob.FreeBeside(jobs, 2 * WorkerTurn.HeldMax));
    }

    [Fact]
    public void BeforeItsClaim_NothingIsDone()
    {
        WorkerJob job = Job();
        Assert.Equal((false, 0, 0), (job.IsClaimed, job.Step, job.Done));
        Assert.Contains(
            "a/g1", Assert.Throws<InvalidOperationException>(() => job.Claim).Message, StringComparison.Ordinal);
        Assert.Equal(job.Item with { LastLease = 7 }, job.Remaining());
        Assert.Equal((7L, 3L), (job.Lease, job.Attempt));
    }

    // It was leased with 10 steps, and a later snapshot is known to its generation: 4 of them are left.
    [Fact]
    public void WhatWasClaimed_CountsWhatTheGenerationKnows()
    {
        WorkerJob job = Job();
        job.Claim = Claim(6);
        Assert.Equal((true, 6, 6), (job.IsClaimed, job.Step, job.Done));
        Assert.Equal((6, 6, 6), (job.StoredStep, job.ReportedStep, job.SentStep));
        WorkItem rest = job.Remaining();
        Assert.Equal((4, 8.0, 7L), (rest.Quanta, rest.Cost, rest.LastLease));
        Assert.False(job.HasUnreportedStep);
        Assert.False(job.CanContinue);
    }

    [Fact]
    public void AtItsLastStep_OneIsLeft_AndNoMoreIsDoneThanWasLeased()
    {
        WorkerJob job = Job();
        job.Claim = Claim(10);
        Assert.Equal((10, 1, 2.0), (job.Done, job.Remaining().Quanta, job.Remaining().Cost));
        job = new WorkerJob(new LeasedWork(7, Work.Denoise("a", 1, 3, 2)), 3) { Claim = Claim(2) };
        Assert.Equal((0, 8), (job.Done, job.Remaining().Quanta));
    }

    [Theory]
    [InlineData(WorkKind.Encode)]
    [InlineData(WorkKind.Decode)]
    public void WorkOfOneQuantum_IsDone_WhenItsOutputIsStored(WorkKind kind)
    {
        WorkerJob job = Job(kind);
        job.Claim = Claim(0);
        Assert.Equal(0, job.Done);
        Assert.Equal(job.Item with { LastLease = 7 }, job.Remaining());
        job.Output = new BlobName("output");
        Assert.Equal(1, job.Done);
    }

    [Fact]
    public void WhatIsOver_SaysHowItsLeaseEnds()
    {
        WorkerJob job = Job();
        Assert.Equal((false, null), (job.IsOver, job.Release));
        var release = new LeaseRelease(7, job.Item, LeaseEnd.Returned);
        job.End(release);
        Assert.Equal((true, release), (job.IsOver, job.Release));
        job.End(null);
        Assert.Equal((true, null), (job.IsOver, job.Release));
    }

    private static WorkerJob Job(WorkKind kind = WorkKind.Denoise, bool alone = false)
    {
        WorkItem item = kind == WorkKind.Denoise ? Work.Denoise("a", 1, 10, 2) : Work.Denoise("a", 1, 1, 20);
        return new WorkerJob(new LeasedWork(7, item with { Kind = kind, Alone = alone }), 3);
    }

    private static WorkerJob Ended()
    {
        WorkerJob job = Job();
        job.Latent = [];
        return job;
    }

    private static ClaimAnswer Claim(int step) => new()
    {
        Outcome = ClaimOutcome.Granted, Epoch = 1, Step = step,
        Spec = new GenerationSpec { Model = Work.Model(0), Prompt = "a cat", Steps = 10, Width = 64, Height = 64 },
    };
}

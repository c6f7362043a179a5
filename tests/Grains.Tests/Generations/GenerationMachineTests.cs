// Goal: for every command in every phase, early, late and repeated: who holds the generation's work, its new state, and
// what must be stored before the answer. Method: the pure protocol, one command at a time, at the bounds of each
// option.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Generations;
using Xunit;

namespace Atelier.Grains.Tests.Generations;

public sealed class GenerationMachineTests
{
    private static readonly TimeSpan s_tick = TimeSpan.FromTicks(1);

    [Fact]
    public void Accepted_ItWaitsForAnEncoder()
    {
        GenerationState state = new Story().State;
        Assert.Equal((GenerationPhase.QueuedEncode, GenerationPhase.QueuedEncode), (state.Phase, state.Reached));
        Assert.Equal((3.0, new GenerationCost(5, 7, 11)), (state.Weight, state.Cost));
        Assert.Equal((Story.At(0), Story.At(0)), (state.AcceptedAt, state.WaitingSince));
        Assert.Equal(Story.Submission(), state.Submission);
        Assert.True(state.IsOpen);
        Assert.False(state.IsClaimed);
        Assert.Equal((0L, 0L), (state.Epoch, state.LastLease));
    }

    [Fact]
    public void ASubmissionThatComesAgain_IsKnown_AndAnotherOneUnderItsIdIsAConflict()
    {
        var story = new Story();
        Assert.Null(GenerationMachine.Known(new GenerationState(), Story.Submission()));
        Assert.Equal(SubmitOutcome.Exists, GenerationMachine.Known(story.State, Story.Submission()));
        Assert.Equal(SubmitOutcome.Conflict, GenerationMachine.Known(story.State, Story.Submission(previews: 1)));
        story.Delete(1);
        Assert.Equal(SubmitOutcome.Gone, GenerationMachine.Known(story.State, Story.Submission()));
        Assert.Equal(
            SubmitOutcome.Gone,
            GenerationMachine.Known(
                new GenerationState { Closure = GenerationClosure.NeverSubmitted }, Story.Submission()));
    }

    [Fact]
    public void AnIdWithoutASubmission_IsKept_UntilItIsLate_AndThenRefusedForGood()
    {
        var story = new Story { State = new GenerationState() };
        Outcome<bool> early = story.Ensure(late: false, 1);
        Assert.Equal((true, false), (early.Answer, early.Store));
        Assert.Equal(GenerationClosure.None, story.State.Closure);

        Outcome<bool> late = story.Ensure(late: true, 2);
        Assert.Equal((false, true), (late.Answer, late.Store));
        Assert.Equal((GenerationClosure.NeverSubmitted, Story.At(2)), (story.State.Closure, story.State.EndedAt));

        Outcome<bool> again = story.Ensure(late: true, 3);
        Assert.Equal((false, false), (again.Answer, again.Store));
        Assert.Equal(Story.At(2), story.State.EndedAt);
    }

    [Fact]
    public void AnOpenGeneration_IsKept_HoweverLate_AndOneThatEndedIsNot()
    {
        var story = new Story();
        GenerationState before = story.State;
        Outcome<bool> open = story.Ensure(late: true, 1);
        Assert.Equal((true, false), (open.Answer, open.Store));
        Assert.Same(before, story.State);
        story.Cancel(2);
        Outcome<bool> ended = story.Ensure(late: true, 3);
        Assert.Equal((false, false), (ended.Answer, ended.Store));
        Assert.Equal(GenerationClosure.None, story.State.Closure);
    }

    [Fact]
    public void UndisturbedLife_HasThreeClaims_AndEachGetsWhatTheOneBeforeMade()
    {
        var story = new Story();
        Outcome<ClaimAnswer> encode = story.Claim(WorkKind.Encode, 1, lease: 40);
        Assert.Equal((ClaimOutcome.Granted, 1L, true), (encode.Answer.Outcome, encode.Answer.Epoch, encode.Store));
        Assert.Equal(Story.Submission().Spec, encode.Answer.Spec);
        Assert.Null(encode.Answer.Caption);
        Assert.Equal((GenerationPhase.Encoding, GenerationPhase.Encoding), (story.State.Phase, story.State.Reached));
        Assert.Equal(40, story.State.LastLease);
        Assert.Equal(
            new GenerationClaim
            {
                Worker = "w", Attempt = 1, DeviceKind = "cpu", Alone = false, FromStep = 0, At = Story.At(1),
            },
            story.State.Claim);

        var encoded = new EncodedPrompts(new PromptTokens(2, 2, null), null);
        Outcome<ReportOutcome> caption = story.Complete("caption", 2, encoded: encoded);
        Assert.Equal((ReportOutcome.Taken, true), (caption.Answer, caption.Store));
        Assert.Equal((GenerationPhase.QueuedDenoise, Story.At(2)), (story.State.Phase, story.State.WaitingSince));
        Assert.Equal((Story.Blob("caption"), encoded), (story.State.Caption, story.State.Encoded));
        Assert.Null(story.State.Claim);

        Outcome<ClaimAnswer> denoise = story.Claim(WorkKind.Denoise, 3);
        Assert.Equal((2L, Story.Blob("caption")), (denoise.Answer.Epoch, denoise.Answer.Caption));
        Assert.Equal((null, 0, null), (denoise.Answer.Snapshot, denoise.Answer.Step, denoise.Answer.Latent));
        Outcome<ReportOutcome> latent = story.Complete("latent", 4);
        Assert.Equal((ReportOutcome.Taken, true), (latent.Answer, latent.Store));
        Assert.Equal((GenerationPhase.QueuedDecode, Story.At(4)), (story.State.Phase, story.State.WaitingSince));
        Assert.Equal((Story.Steps, "cpu"), (story.State.Step, story.State.DeviceKind));

        Outcome<ClaimAnswer> decode = story.Claim(WorkKind.Decode, 5);
        Assert.Equal((3L, Story.Blob("latent")), (decode.Answer.Epoch, decode.Answer.Latent));
        Assert.Equal((GenerationPhase.Decoding, Story.Steps), (story.State.Phase, story.State.Step));
        Outcome<ReportOutcome> picture = story.Complete("picture", 6);
        Assert.Equal((ReportOutcome.Taken, true), (picture.Answer, picture.Store));
        Assert.Equal((GenerationPhase.Done, Story.At(6)), (story.State.Phase, story.State.EndedAt));
        Assert.Equal((Story.Blob("picture"), (BlobName?)null), (story.State.Picture, story.State.Caption));
        Assert.Equal((null, null), (story.State.Latent, story.State.Claim));
        Assert.Equal(Story.Submission().Spec.Evaluations, story.State.Computed);
        Assert.Equal(GenerationPhase.Decoding, story.State.Reached);
        Assert.Equal(0, story.State.Restarts);
        Assert.False(story.State.IsOpen);
        Assert.Equal(
            [Story.Blob("caption"), Story.Blob("latent")], story.State.ToRelease.OrderBy(blob => blob.Value));
    }

    [Fact]
    public void AClaimForAnotherPhase_OrOfWhatHasEnded_FindsNothing()
    {
        var story = new Story();
        GenerationState before = story.State;
        Outcome<ClaimAnswer> other = story.Claim(WorkKind.Denoise, 1);
        Assert.Equal((ClaimOutcome.Nothing, false), (other.Answer.Outcome, other.Store));
        Assert.Same(before, story.State);
        Assert.True(other.IsRefusal);
        story.Cancel(2);
        Assert.Equal(ClaimOutcome.Nothing, story.Claim(WorkKind.Encode, 3).Answer.Outcome);
        story.Delete(4);
        Assert.Equal(ClaimOutcome.Nothing, story.Claim(WorkKind.Encode, 5).Answer.Outcome);
    }

    [Fact]
    public void TheSameClaimTwice_IsOnce()
    {
        Story story = new Story().Denoising();
        GenerationState before = story.State;
        Outcome<ClaimAnswer> again = story.ClaimAgain(WorkKind.Denoise, 100);
        Assert.Equal((ClaimOutcome.Granted, 2L, false), (again.Answer.Outcome, again.Answer.Epoch, again.Store));
        Assert.Same(before, story.State);
        Assert.False(again.IsRefusal);
    }

    // Another worker, or another attempt of the same one, with the number of the lease that was claimed, or an older.
    [Theory]
    [InlineData("w", 99, 0)]
    [InlineData("w", 99, -1)]
    [InlineData("other", 2, 0)]
    public void AClaimOnALeaseThatIsNotNewer_ComesLate(string worker, long attempt, int more)
    {
        Story story = new Story().Denoising();
        GenerationState before = story.State;
        Outcome<ClaimAnswer> late = story.Claim(
            WorkKind.Denoise, 100, worker, lease: story.Lease + more, attempt: attempt);
        Assert.Equal((ClaimOutcome.Denied, false), (late.Answer.Outcome, late.Store));
        Assert.True(late.IsRefusal);
        Assert.Equal("w", late.Answer.Item!.ClaimedBy);
        Assert.Same(before, story.State);
    }

    [Fact]
    public void AnotherWorker_WaitsUntilTheHolderWasQuiet_ForTheWholeTime()
    {
        Story story = new Story().Denoising();
        story.Report(1, 10);
        TimeSpan quiet = story.Options.ClaimQuiet;
        Outcome<ClaimAnswer> early = story.Claim(WorkKind.Denoise, 10 + (quiet - s_tick).TotalSeconds, "other");
        Assert.Equal((ClaimOutcome.Denied, true), (early.Answer.Outcome, early.Store));
        Assert.False(early.IsRefusal);
        Assert.Equal((story.Lease, "w"), (story.State.LastLease, story.State.Claim!.Worker));
        Assert.Equal(story.Lease, early.Answer.Item!.LastLease);

        story.Claim(WorkKind.Denoise, 10 + quiet.TotalSeconds, "other", alone: true);
        Assert.Equal(("other", 3L), (story.State.Claim!.Worker, story.State.Epoch));
        Assert.Equal(ReportOutcome.Refused, story.Report(2, 20, epoch: 2).Answer);
    }

    [Fact]
    public void AnotherProcessOfTheSameWorker_TakesOverAtOnce()
    {
        Story story = new Story().Denoising();
        Outcome<ClaimAnswer> next = story.Claim(WorkKind.Denoise, 2, alone: true);
        Assert.Equal((ClaimOutcome.Granted, 3L), (next.Answer.Outcome, next.Answer.Epoch));
        Assert.Equal(1, story.State.ClaimsWithoutProgress);
    }

    [Fact]
    public void WhoWasInABatchWhenItsWorkerDied_RunsAloneNext_UntilASnapshot()
    {
        Story story = new Story().Denoising();
        Outcome<ClaimAnswer> shared = story.Claim(WorkKind.Denoise, 50, "other");
        Assert.Equal((ClaimOutcome.Denied, true), (shared.Answer.Outcome, shared.Store));
        Assert.True(shared.Answer.Item!.Alone);
        Assert.Equal((GenerationPhase.QueuedDenoise, null), (story.State.Phase, story.State.Claim));
        Assert.Equal((1, 0, 2L), (story.State.ClaimsWithoutProgress, story.State.DeathsAlone, story.State.Epoch));

        Assert.Equal(ClaimOutcome.Granted, story.Claim(WorkKind.Denoise, 51, "other", alone: true).Answer.Outcome);
        Assert.True(story.State.Claim!.Alone);
        story.Report(1, 52, "s1");
        Assert.Equal((0, false), (story.State.ClaimsWithoutProgress, story.Item().Alone));
    }

    [Fact]
    public void Quarantine_BeginsAfterAsManyLostClaimsAsAreSet()
    {
        var story = new Story(new GenerationOptions { QuarantineAfter = 2 });
        story.Claim(WorkKind.Encode, 1);
        Assert.Equal(ClaimOutcome.Granted, story.Claim(WorkKind.Encode, 10, "w2").Answer.Outcome);
        Assert.Equal(1, story.State.ClaimsWithoutProgress);
        Assert.Equal(ClaimOutcome.Denied, story.Claim(WorkKind.Encode, 20, "w3").Answer.Outcome);
        Assert.Equal((2, 0), (story.State.ClaimsWithoutProgress, story.State.DeathsAlone));
    }

    // A claim that brought a newer snapshot made progress, whatever became of its worker.
    [Theory]
    [InlineData(true, 0)]
    [InlineData(false, 1)]
    public void ALostClaim_CountsAsBarren_OnlyWithoutANewerSnapshot(bool hasSnapshot, int barren)
    {
        Story story = new Story().Denoising();
        story.Report(4, 3, "s4");
        story.Release(4, 4);
        story.Claim(WorkKind.Denoise, 5);
        Assert.Equal(4, story.State.Claim!.FromStep);
        if (hasSnapshot)
        {
            story.Report(5, 6, "s5");
        }

        story.Report(8, 7);
        Outcome<ClaimAnswer> next = story.Claim(WorkKind.Denoise, 50, "other", alone: true);
        Assert.Equal(barren, story.State.ClaimsWithoutProgress);

        // Steps after the last snapshot are repeated.
        int step = hasSnapshot ? 5 : 4;
        Assert.Equal((step, step, step), (next.Answer.Step, story.State.Step, story.State.SnapshotStep));
        Assert.Equal(Story.Blob($"s{step}"), next.Answer.Snapshot);
    }

    [Fact]
    public void WorkersThatDieWithItAlone_EndIt_AfterAsManyAsAreSet()
    {
        var story = new Story(new GenerationOptions { DeathsAloneMax = 2 });
        story.Claim(WorkKind.Encode, 1);
        story.Claim(WorkKind.Encode, 10, "w2", alone: true);
        Assert.Equal(0, story.State.DeathsAlone);
        Assert.Equal(ClaimOutcome.Granted, story.Claim(WorkKind.Encode, 20, "w3", alone: true).Answer.Outcome);
        Assert.Equal((1, 2), (story.State.DeathsAlone, story.State.ClaimsWithoutProgress));
        Outcome<ClaimAnswer> last = story.Claim(WorkKind.Encode, 30, "w4", alone: true);
        Assert.Equal((ClaimOutcome.Nothing, true), (last.Answer.Outcome, last.Store));
        Assert.Equal((GenerationPhase.Failed, GenerationError.WorkerLost), (story.State.Phase, story.State.Error));
        Assert.Equal((Story.At(30), null), (story.State.EndedAt, story.State.Claim));
        Assert.Contains("2 times", story.State.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AfterALostClaim_ItWaitsSinceItsWorkerWasHeardLast()
    {
        Story story = new Story().Denoising();
        story.Report(1, 5);
        story.Claim(WorkKind.Denoise, 50, "other");
        Assert.Equal(Story.At(5), story.State.WaitingSince);
    }

    // A new activation has not received any report yet.
    [Fact]
    public void AfterALostClaim_OfWhichNothingWasHeard_ItWaitsSinceItDidBefore()
    {
        Story story = new Story().Denoising();
        var request = new ClaimRequest("other", 99, WorkKind.Denoise, "cpu", true, 99);
        var machine = new GenerationMachine(new GenerationOptions { QuarantineAfter = 5 });
        GenerationState next = machine.Claim(story.State, Story.Key, request, default, Story.At(50)).State;
        Assert.Equal(Story.At(1), next.WaitingSince);
    }

    [Fact]
    public void ASnapshot_WaitsForItsDeviceKind_AndStartsAgainOnAnotherAfterThat()
    {
        Story story = Snapshotted();
        TimeSpan patience = story.Options.DeviceKindPatience;
        double waitingSince = 4;
        Outcome<ClaimAnswer> early = story.Claim(
            WorkKind.Denoise, waitingSince + (patience - s_tick).TotalSeconds, device: "cuda");
        Assert.Equal((ClaimOutcome.Denied, true), (early.Answer.Outcome, early.Store));
        Assert.Equal(
            ("cpu", Story.At(waitingSince) + patience, patience),
            (early.Answer.Item!.DeviceKind, early.Answer.Item.AnyKindFrom, early.Answer.Item.AnyKindAfter));
        Assert.Equal(5, story.State.SnapshotStep);

        Outcome<ClaimAnswer> next = story.Claim(
            WorkKind.Denoise, waitingSince + patience.TotalSeconds, device: "cuda");
        Assert.Equal((ClaimOutcome.Granted, 0), (next.Answer.Outcome, next.Answer.Step));
        Assert.Null(next.Answer.Snapshot);
        Assert.Equal(
            (0, 0, 1, (string?)null),
            (story.State.Step, story.State.SnapshotStep, story.State.Restarts, story.State.DeviceKind));
        Assert.Empty(story.State.Previews);
        Assert.Equal(("cuda", 0), (story.State.Claim!.DeviceKind, story.State.Claim.FromStep));
        Assert.Equal(["p5", "s5"], story.State.Late.Select(blob => blob.Value).Order());
    }

    [Fact]
    public void ASnapshot_ContinuesOnItsOwnDeviceKind_AtOnce()
    {
        Story story = Snapshotted();
        Outcome<ClaimAnswer> next = story.Claim(WorkKind.Denoise, 4, "other");
        Assert.Equal((ClaimOutcome.Granted, 5), (next.Answer.Outcome, next.Answer.Step));
        Assert.Equal((Story.Blob("s5"), 0), (next.Answer.Snapshot, story.State.Restarts));
    }

    [Fact]
    public void ALatent_IsDecodedOnAnyDeviceKind()
    {
        Story story = new Story().Denoising();
        story.Report(5, 3, "s5");
        story.Complete("latent", 3);
        Assert.Equal(ClaimOutcome.Granted, story.Claim(WorkKind.Decode, 3, device: "cuda").Answer.Outcome);
        Assert.Equal(("cpu", 0), (story.State.DeviceKind, story.State.Restarts));
    }

    [Fact]
    public void Steps_AreNotWorthAWrite_ASnapshotIs()
    {
        Story story = new Story().Denoising();
        Outcome<ReportOutcome> step = story.Report(3, 3);
        Assert.Equal((ReportOutcome.Taken, false, 3), (step.Answer, step.Store, story.State.Step));
        Assert.Equal((0, (BlobName?)null), (story.State.SnapshotStep, story.State.Snapshot));

        Outcome<ReportOutcome> snapshot = story.Report(4, 4, "s4");
        Assert.Equal((ReportOutcome.Taken, true), (snapshot.Answer, snapshot.Store));
        Assert.Equal((4, 4, "cpu"), (story.State.Step, story.State.SnapshotStep, story.State.DeviceKind));
        Assert.Equal(Story.Blob("s4"), story.State.Snapshot);

        // A late or repeated report never sets the step back.
        Outcome<ReportOutcome> same = story.Report(4, 5, "s4b");
        Assert.Equal((ReportOutcome.Taken, false), (same.Answer, same.Store));
        Assert.Equal(Story.Blob("s4"), story.State.Snapshot);
        Assert.Equal(["s4b"], Names(story.State.ToRelease));
        story.Report(2, 6);
        Assert.Equal(4, story.State.Step);
    }

    [Fact]
    public void ANewSnapshot_ReplacesTheOld_WhichIsReleased_AndForgetsWhatWentWrong()
    {
        Story story = new Story(new GenerationOptions { FailuresMax = 3, QuarantineAfter = 3 }).Denoising();
        story.Report(2, 3, "s2");
        story.Fail(4);
        story.Claim(WorkKind.Denoise, 5, "dies");
        story.Claim(WorkKind.Denoise, 50, "w", alone: true);
        Assert.Equal((1, 1), (story.State.Failures, story.State.ClaimsWithoutProgress));
        story.State = story.State with { DeathsAlone = 1 };
        story.Report(3, 51, "s3");
        Assert.Equal(
            (0, 0, 0), (story.State.Failures, story.State.ClaimsWithoutProgress, story.State.DeathsAlone));
        Assert.Equal(["s2"], Names(story.State.ToRelease));
    }

    [Fact]
    public void StepsBeyondTheLast_AreTheLast()
    {
        Story story = new Story().Denoising();
        story.Report(Story.Steps + 5, 3, "s");
        Assert.Equal((Story.Steps, Story.Steps), (story.State.Step, story.State.SnapshotStep));
    }

    [Fact]
    public void AReport_IsRefused_WithoutTheClaim_OrInAnotherPhase()
    {
        var story = new Story();
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Report(1, 1, epoch: 0)));
        story.Claim(WorkKind.Encode, 1);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Report(1, 1)));
        Assert.Equal(0, story.State.Step);
        story.Complete("caption", 2);
        story.Claim(WorkKind.Denoise, 3);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Report(1, 4, epoch: 1)));
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Report(1, 4, epoch: 3)));
        Assert.Equal((ReportOutcome.Taken, false), Result(story.Report(1, 4, epoch: 2)));
        Assert.True(story.Report(1, 4, epoch: 1).IsRefusal);
    }

    // A client gets every preview together with its step; a report of the step without its preview does not advance it.
    [Fact]
    public void AStepWithAPreview_IsTakenTogetherWithIt()
    {
        Story story = new Story(previews: 1).Denoising();
        story.Report(6, 3);
        Assert.Equal(4, story.State.Step);
        story.Report(7, 4, "s7", null, (5, "p5"));
        Assert.Equal((7, 7), (story.State.Step, story.State.SnapshotStep));
        Assert.Equal(Story.Blob("p5"), Assert.Single(story.State.Previews).Value);

        // The first one stays: it may have been shown.
        story.Report(8, 5, "s8", null, (5, "other"));
        Assert.Equal(Story.Blob("p5"), Assert.Single(story.State.Previews).Value);
        Assert.Contains(Story.Blob("other"), story.State.ToRelease);
    }

    [Fact]
    public void PreviewsWithoutANewerSnapshot_AreNotTaken()
    {
        Story story = new Story(previews: 1).Denoising();
        story.Report(5, 3, null, null, (5, "p5"));
        Assert.Empty(story.State.Previews);
        Assert.Equal(4, story.State.Step);
        Assert.Equal(["p5"], Names(story.State.ToRelease));
    }

    [Fact]
    public void ACompletionThatComesAgain_IsTaken_AndOneOfAnotherClaimIsRefused()
    {
        Story story = new Story();
        story.Claim(WorkKind.Encode, 1);
        story.Complete("caption", 2);
        GenerationState before = story.State;
        Assert.Equal((ReportOutcome.Taken, false), Result(story.Complete("caption", 3)));
        Assert.Same(before, story.State);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Complete("caption", 3, epoch: 0)));
        Assert.Equal((ReportOutcome.Refused, true), Result(story.Complete("another", 3)));
        Assert.Equal(["another"], Names(story.State.ToRelease));
        Assert.Equal((GenerationPhase.QueuedDenoise, Story.At(2)), (story.State.Phase, story.State.WaitingSince));

        story.Claim(WorkKind.Denoise, 4);
        story.Complete("latent", 5);
        Assert.Equal((ReportOutcome.Taken, false), Result(story.Complete("latent", 6)));
        story.Claim(WorkKind.Decode, 7);
        story.Complete("picture", 8);
        Assert.Equal((ReportOutcome.Taken, false), Result(story.Complete("picture", 9)));
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Complete("other picture", 9)));
        Assert.Contains(Story.Blob("other picture"), story.State.ToRelease);
    }

    [Fact]
    public void ACompletion_ForgetsFailures()
    {
        var story = new Story();
        story.Claim(WorkKind.Encode, 1);
        story.Fail(2);
        story.Claim(WorkKind.Encode, 3);
        story.Complete("caption", 4);
        Assert.Equal(0, story.State.Failures);
    }

    [Fact]
    public void WorkThatIsReleased_WaitsFromItsLastSnapshot()
    {
        Story story = new Story().Denoising();
        Assert.Equal((ReportOutcome.Taken, true), Result(story.Release(6, 9, "s6")));
        Assert.Equal((GenerationPhase.QueuedDenoise, Story.At(9)), (story.State.Phase, story.State.WaitingSince));
        Assert.Equal((6, 6, null), (story.State.Step, story.State.SnapshotStep, story.State.Claim));
        Assert.Equal((0, 2L), (story.State.ClaimsWithoutProgress, story.State.Epoch));
        Assert.Equal(GenerationPhase.Denoising, story.State.Reached);

        // Again, as after a lost answer; from an earlier claim; and when it has ended.
        Assert.Equal((ReportOutcome.Taken, false), Result(story.Release(6, 10, "s6")));
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Release(6, 10, "s6", epoch: 1)));
        Assert.Equal(Story.At(9), story.State.WaitingSince);
        story.Cancel(11);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Release(6, 12)));
    }

    [Fact]
    public void AReleaseOfAnEarlierClaim_DoesNotEndTheLater()
    {
        Story story = new Story().Denoising();
        story.Release(0, 3);
        story.Claim(WorkKind.Denoise, 4);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Release(0, 5, epoch: 2)));
        Assert.True(story.State.IsClaimed);
    }

    [Theory]
    [InlineData(WorkKind.Encode, GenerationPhase.QueuedEncode)]
    [InlineData(WorkKind.Decode, GenerationPhase.QueuedDecode)]
    public void WorkOfOneQuantum_IsReleasedAsItWas(WorkKind kind, GenerationPhase phase)
    {
        var story = new Story();
        if (kind == WorkKind.Encode)
        {
            story.Claim(WorkKind.Encode, 1);
        }
        else
        {
            story.Decoding();
        }

        int step = story.State.Step;
        Assert.Equal(ReportOutcome.Taken, story.Release(3, 9, "s3").Answer);
        Assert.Equal((phase, step, 0), (story.State.Phase, story.State.Step, story.State.SnapshotStep));
    }

    [Fact]
    public void AFailure_IsTriedAgain_AndTheLastThatIsAllowedEndsIt()
    {
        Story story = new Story(new GenerationOptions { FailuresMax = 2 }).Denoising();
        Assert.Equal((ReportOutcome.Taken, true), Result(story.Fail(3)));
        Assert.Equal((GenerationPhase.QueuedDenoise, Story.At(3)), (story.State.Phase, story.State.WaitingSince));
        Assert.Equal((1, GenerationError.None, null), (story.State.Failures, story.State.Error, story.State.Claim));

        Assert.Equal((ReportOutcome.Refused, false), Result(story.Fail(4)));
        Assert.Equal(1, story.State.Failures);
        story.Claim(WorkKind.Denoise, 5);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Fail(6, epoch: 2)));
        Assert.Equal((ReportOutcome.Taken, true), Result(story.Fail(7, GenerationError.KernelFailed, "Broken.")));
        Assert.Equal((GenerationPhase.Failed, Story.At(7)), (story.State.Phase, story.State.EndedAt));
        Assert.Equal((GenerationError.KernelFailed, "Broken."), (story.State.Error, story.State.Message));
        Assert.Equal(["caption"], Names(story.State.ToRelease));
    }

    [Fact]
    public void AnInvalidRequest_IsNotTriedAgain()
    {
        Story story = new Story(new GenerationOptions { FailuresMax = 5 }).Denoising();
        story.Fail(3, GenerationError.InvalidRequest, "Too wide.");
        Assert.Equal(
            (GenerationPhase.Failed, GenerationError.InvalidRequest, "Too wide."),
            (story.State.Phase, story.State.Error, story.State.Message));
    }

    [Fact]
    public void Cancelled_ItEndsAtOnce_AndOnlyOnce()
    {
        Story story = new Story().Denoising();
        story.Report(3, 3, "s3");
        Outcome<bool> first = story.Cancel(4, "Everybody has left.");
        Assert.Equal((true, true), (first.Answer, first.Store));
        Assert.Equal((GenerationPhase.Cancelled, Story.At(4)), (story.State.Phase, story.State.EndedAt));
        Assert.Equal(("Everybody has left.", null), (story.State.Message, story.State.Claim));
        Assert.Equal(["caption", "s3"], Names(story.State.ToRelease));
        GenerationState before = story.State;
        Outcome<bool> again = story.Cancel(5, "Again.");
        Assert.Equal((false, false), (again.Answer, again.Store));
        Assert.Same(before, story.State);
        Assert.Equal((ReportOutcome.Refused, false), Result(story.Report(4, 6)));
    }

    [Fact]
    public void Retired_ItFails_UnlessItHasEnded()
    {
        Story story = new Story().Denoising();
        Outcome<bool> first = story.Retire(4);
        Assert.Equal((false, true), (first.Answer, first.Store));
        Assert.Equal((GenerationPhase.Failed, Story.At(4)), (story.State.Phase, story.State.EndedAt));
        Assert.Equal(
            (GenerationError.ModelRetired, "Its model is gone."), (story.State.Error, story.State.Message));
        Assert.Equal(["caption"], Names(story.State.ToRelease));
        Outcome<bool> again = story.Retire(5);
        Assert.Equal((false, false), (again.Answer, again.Store));
        Assert.Equal(Story.At(4), story.State.EndedAt);
    }

    [Fact]
    public void Deleted_OnlyThatItWas_AndItsBlobs_AreRemembered()
    {
        Story story = new Story(previews: 1).Denoising();
        story.Report(7, 3, "s7", null, (5, "p5"));
        story.State = story.State with
        {
            AcceptedHour = 12,
            Partition = 3,
            Computed = 4,
            Late = [Story.Blob("late")],
            ToRelease = [Story.Blob("old")],
        };
        Outcome<bool> outcome = story.Delete(9);
        Assert.Equal((true, true), (outcome.Answer, outcome.Store));
        Assert.Equal(["caption", "late", "old", "p5", "s7"], Names(story.State.ToRelease));
        Assert.Equal(
            new GenerationState
            {
                Closure = GenerationClosure.Deleted, EndedAt = Story.At(9), AcceptedHour = 12, Partition = 3,
                Computed = 4, ToRelease = story.State.ToRelease, Late = story.State.Late,
                Previews = story.State.Previews,
            },
            story.State);
        Assert.Empty(story.State.Late);
        Assert.Empty(story.State.Previews);
    }

    [Fact]
    public void WorkOfEachPhase_HasItsCost_AndOnlyASnapshotBindsIt()
    {
        var story = new Story();
        WorkItem encode = story.Item();
        Assert.Equal((WorkKind.Encode, 1, 5.0), (encode.Kind, encode.Quanta, encode.Cost));
        Assert.Equal(70.0 + 11, encode.CostAfter);
        Assert.Equal((Story.Key, Story.At(0), 3.0), (encode.Generation, encode.AcceptedAt, encode.Weight));
        Assert.Equal((null, 0L), (encode.ClaimedBy, encode.LastLease));
        Assert.Equal(Story.Submission().Spec.Model, encode.Model);
        Assert.False(encode.Alone);

        story.Denoising();
        story.State = story.State with { WeightVersion = 6 };
        WorkItem denoise = story.Item();
        Assert.Equal((WorkKind.Denoise, Story.Steps, 70.0), (denoise.Kind, denoise.Quanta, denoise.Cost));
        Assert.Equal(11, denoise.CostAfter);
        Assert.Equal((null, null, null), (denoise.DeviceKind, denoise.AnyKindFrom, denoise.AnyKindAfter));
        Assert.Equal(("w", 2L, 6L), (denoise.ClaimedBy, denoise.LastLease, denoise.WeightVersion));

        story.Report(4, 3, "s4");
        WorkItem rest = story.Item();
        Assert.Equal((6, 42.0, "cpu"), (rest.Quanta, rest.Cost, rest.DeviceKind));
        Assert.Equal(
            (Story.At(1) + story.Options.DeviceKindPatience, story.Options.DeviceKindPatience),
            (rest.AnyKindFrom, rest.AnyKindAfter));

        // A worker may die between the last step and the report of it.
        story.Report(Story.Steps, 4, "s10");
        Assert.Equal((1, 7.0), (story.Item().Quanta, story.Item().Cost));

        story.Complete("latent", 5);
        WorkItem decode = story.Item();
        Assert.Equal((WorkKind.Decode, 1, 11.0), (decode.Kind, decode.Quanta, decode.Cost));
        Assert.Equal(0, decode.CostAfter);
        Assert.Equal((null, null, null), (decode.DeviceKind, decode.AnyKindFrom, decode.AnyKindAfter));
        story.Cancel(6);
        Assert.Contains(
            "ended", Assert.Throws<ArgumentException>(() => story.Item()).Message, StringComparison.Ordinal);
    }

    // A step takes two evaluations, the last one takes one; the step at hand counts.
    [Fact]
    public void WhatWasComputed_IsCountedAtTheEnd()
    {
        Assert.Equal(0, Computed(new Story()));
        var encoding = new Story();
        encoding.Claim(WorkKind.Encode, 1);
        Assert.Equal(0, Computed(encoding));
        Assert.Equal(2, Computed(new Story().Denoising()));
        Story denoising = new Story().Denoising();
        denoising.Report(3, 3);
        Assert.Equal(8, Computed(denoising));
        Story parked = new Story().Denoising();
        parked.Release(3, 3, "s3");
        Assert.Equal(6, Computed(parked));
        Story last = new Story().Denoising();
        last.Report(Story.Steps, 3);
        Assert.Equal(19, Computed(last));
        Assert.Equal(19, Computed(new Story().Decoding()));
        Story decoding = new Story().Decoding();
        decoding.State = decoding.State with { Step = 0 };
        Assert.Equal(19, Computed(decoding));
    }

    private static int Computed(Story story)
    {
        story.Cancel(10);
        return story.State.Computed;
    }

    // A generation with a snapshot of step 5 by "cpu", which has waited since 4 s.
    private static Story Snapshotted()
    {
        Story story = new Story(previews: 1).Denoising();
        story.Report(5, 3, "s5", null, (5, "p5"));
        story.Release(5, 4);
        return story;
    }

    private static (ReportOutcome, bool) Result(Outcome<ReportOutcome> outcome) => (outcome.Answer, outcome.Store);

    private static IEnumerable<string> Names(IEnumerable<BlobName> blobs) => blobs.Select(blob => blob.Value).Order();
}

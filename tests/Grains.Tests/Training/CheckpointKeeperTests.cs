// Goal: a trainer reports only parts and digests of the copy that it keeps, reports a part as stored only if it is
// stored, drops the copy when it is committed or discarded, and tries again what the store refused. Method: a state of
// a few weights, and the store of the fakes.
using System.Collections.Immutable;
using System.Security.Cryptography;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Grains.Tests.Training;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class CheckpointKeeperTests
{
    private readonly FakeBlobStore _blobs = new();
    private readonly CheckpointKeeper _keeper;

    public CheckpointKeeperTests() => _keeper = new CheckpointKeeper(
        new CheckpointBlobs(_blobs, new BlobOwner(BlobOwnerType.Run, "run")), ImmutableDictionary<string, string>.Empty,
        NullLogger.Instance);

    [Fact]
    public async Task Parts_AreStored_OrOnlyConfirmed_AsAssigned()
    {
        TrainingState state = Hold(10);
        _keeper.Add([new PartTask(10, 0, Writes: true), new PartTask(10, 1, Writes: false)]);
        await WorkAsync();

        PartReport[] parts = [.. _keeper.Report.Parts.OrderBy(part => part.Number)];
        Assert.Equal([(10L, 0, true), (10L, 1, false)], parts.Select(part => (part.Step, part.Number, part.IsStored)));
        Assert.Equal(
            Convert.ToHexStringLower(SHA256.HashData(CheckpointFile.Write(
                state, 1, ImmutableDictionary<string, string>.Empty))),
            parts[1].Part.Digest);
        Assert.Equal(CheckpointBlobs.NameOf(parts[0].Part), Assert.Single(_blobs.Names));

        // The manager may assign the write to a trainer that has confirmed the part, but not the other way round.
        _keeper.Add([new PartTask(10, 1, Writes: true), new PartTask(10, 0, Writes: false)]);
        await WorkAsync();
        Assert.Equal([true, true], _keeper.Report.Parts.Select(part => part.IsStored));
        Assert.Equal(2, _blobs.Count);
    }

    [Fact]
    public async Task PartThatTheStoreRefuses_IsReportedAsAFault_AndStoredWhenItIsAssignedAgain()
    {
        Hold(10);
        _blobs.Refusals = 1;
        PartTask task = new(10, 0, Writes: true);
        _keeper.Add([task]);
        await WorkAsync();
        Assert.Empty(_keeper.Report.Parts);
        Assert.Contains("No space left", _keeper.Report.StoreFault, StringComparison.Ordinal);

        _keeper.Add([task]);
        await WorkAsync();
        Assert.True(Assert.Single(_keeper.Report.Parts).IsStored);
        Assert.Null(_keeper.Report.StoreFault);
    }

    [Fact]
    public void WhileAStateIsAudited_OthersAreNot_ExceptTheHeldOne()
    {
        _keeper.Audit(StateAt(5), world: 1);
        _keeper.Audit(StateAt(6), world: 1);
        Assert.Equal([5], _keeper.Report.Digests.Select(one => one.Step));
        _keeper.Hold(StateAt(10), isPlanned: true, world: 1);
        Assert.Equal([5, 10], _keeper.Report.Digests.Select(one => one.Step));
        Assert.Equal(10, _keeper.Report.Holds?.Step);
    }

    private static TrainingState StateAt(long step) => new(
        RunPosition.Start with { Step = step }, 0, [new StateVector("weights", [1])], []);

    [Fact]
    public async Task TaskThatIsAssignedTwice_IsDoneOnce()
    {
        Hold(10);
        _blobs.Refusals = 1;
        PartTask task = new(10, 0, Writes: true);
        _keeper.Add([task]);
        _keeper.Add([task]);
        await WorkAsync();
        Assert.Equal(0, _blobs.Count);
    }

    [Fact]
    public async Task NewerCopy_ReplacesTheEarlierOne_AndItsReports()
    {
        Hold(10);
        _blobs.Refusals = 1;
        _keeper.Add([new PartTask(10, 0, Writes: true), new PartTask(10, 1, Writes: false)]);
        await WorkAsync();
        TrainingState later = Hold(20, world: 3);
        Assert.Equal(new HeldCheckpoint(20, true, 3), _keeper.Report.Holds);
        Assert.Empty(_keeper.Report.Parts);
        Assert.Null(_keeper.Report.StoreFault);
        Assert.Null(_keeper.Find(10));
        Assert.Same(later, _keeper.Find(20));

        // Tasks for the earlier copy may still arrive.
        _keeper.Add([new PartTask(10, 1, Writes: true)]);
        await WorkAsync();
        Assert.Empty(_keeper.Report.Parts);
        Assert.Equal(0, _blobs.Count);
    }

    [Theory]
    [InlineData(9, 0, false)]
    [InlineData(9, 1, false)]
    [InlineData(10, 0, true)]
    [InlineData(11, 0, true)]
    [InlineData(9, 2, true)]
    public void Copy_IsDropped_WhenItIsCommitted_OrItsWorldIsDiscarded(long safeStep, int returned, bool isDropped)
    {
        Hold(10, world: 2);
        Assert.Equal(isDropped, _keeper.Drop(safeStep, returned));
        Assert.Equal(isDropped, _keeper.Report.Holds is null);
        Assert.False(_keeper.Drop(10, 0) && isDropped);
    }

    [Fact]
    public void EarlierCopy_MustBeCommittedFirst()
    {
        Assert.False(_keeper.IsBusy(10));
        Hold(10);
        Assert.Equal([false, false, true], new[] { 9L, 10, 11 }.Select(_keeper.IsBusy));
    }

    [Fact]
    public async Task Digests_AreThoseOfTheLastEight_AndAlwaysThatOfTheHeldCopy()
    {
        TrainingState held = Hold(10);
        for (int step = 11; step < 25; step++)
        {
            await WorkAsync();
            _keeper.Audit(FakeTraining.Alone(step), 1);
        }

        await WorkAsync();
        StateDigest[] digests = [.. _keeper.Report.Digests];
        Assert.Equal([10, 18, 19, 20, 21, 22, 23, 24], digests.Select(digest => digest.Step));
        Assert.Equal(held.AuditDigest(), digests[0].Digest);
        _keeper.Clear();
        Assert.Empty(_keeper.Report.Digests);
        Assert.Null(_keeper.Report.Holds);
    }

    // Each audit that waits refers to a whole copy of the state.
    [Fact]
    public async Task OneAuditAtATime_AndThatOfTheHeldCopy()
    {
        _keeper.Audit(FakeTraining.Alone(8), 1);
        _keeper.Audit(FakeTraining.Alone(9), 1);
        Hold(10);
        Assert.Equal([(8L, null), (10L, null)], _keeper.Report.Digests.Select(one => (one.Step, one.Digest)));
        await WorkAsync();
        Assert.All(_keeper.Report.Digests, one => Assert.NotNull(one.Digest));
    }

    private TrainingState Hold(long step, int world = 1)
    {
        TrainingState state = FakeTraining.Alone(step);
        _keeper.Hold(state, isPlanned: true, world);
        return state;
    }

    // Runs what is queued. Nothing in it waits, so all of it has been run when the call returns.
    private async Task WorkAsync()
    {
        using var end = new CancellationTokenSource();
        Task running = _keeper.RunAsync(end.Token);
        await end.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
    }
}
#pragma warning restore VSTHRD003

// The promises of a cluster, each in one place. Some are checked at every write of a state, the others when everything
// is quiet again. A message names the generation and its history.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains.Generations;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Simulation;

internal sealed class Promises
{
    private readonly SimulatedCluster _cluster;
    private readonly Dictionary<GenerationKey, TimeSpan> _endedAt = [];
    private readonly Dictionary<GenerationKey, int> _lostAlone = [];

    public Promises(SimulatedCluster cluster)
    {
        _cluster = cluster;
        cluster.Store.Writing = Writing;
    }

    /// <summary>The stored state of each generation.</summary>
    public Dictionary<GenerationKey, GenerationState> Stored { get; } = [];

    /// <summary>Generations that clients know to be accepted.</summary>
    public Dictionary<GenerationKey, Submission> Accepted { get; } = [];

    /// <summary>Generations that clients have deleted, or tried to delete.</summary>
    public HashSet<GenerationKey> Deleting { get; } = [];

    /// <summary>Sessions that clients have deleted, or tried to delete.</summary>
    public HashSet<SessionKey> DeletingSessions { get; } = [];

    /// <summary>Generations that clients know to be deleted.</summary>
    public HashSet<GenerationKey> Deleted { get; } = [];

    /// <summary>Generations that clients know to be cancelled.</summary>
    public HashSet<GenerationKey> Cancelled { get; } = [];

    /// <summary>Generations that kill every worker.</summary>
    public HashSet<GenerationKey> Poison { get; } = [];

    /// <summary>Generations that no device can do.</summary>
    public HashSet<GenerationKey> Broken { get; } = [];

    /// <summary>Evaluations that each ended generation has computed.</summary>
    public Dictionary<GenerationKey, int> Computed { get; } = [];

    public int Done, Failed, Restarts, Forgotten, Left;

    /// <summary>A process loses, or may lose, what it alone holds.</summary>
    public void Disturbed(SimulatedSilo? silo)
    {
        foreach ((GenerationKey key, GenerationState state) in Stored)
        {
            if (state.Claim is { Alone: true } claim && (silo is null || claim.Worker == silo.WorkerName))
            {
                _lostAlone[key] = _lostAlone.GetValueOrDefault(key) + 1;
            }
        }
    }

    /// <summary>Whether everything accepted has ended.</summary>
    public bool AllEnded =>
        Accepted.Keys.All(key => !Stored.TryGetValue(key, out GenerationState? state) || !state.IsOpen);

    /// <summary>What has not ended, as lines of text.</summary>
    public string Open =>
        string.Join('\n', Accepted.Keys.Where(key => Stored.GetValueOrDefault(key) is { IsOpen: true })
            .Select(
                key =>
                    $"{key} is open: {Stored[key].Phase}, epoch {Stored[key].Epoch}\n{_cluster.Story(key.ToString())}"))
        + $"\n{string.Join('\n', _cluster.Activations.Select(one => one.Doing))}";

    /// <summary>Nothing accepted is lost; every end is the right one, with the bytes of an undisturbed run.</summary>
    public void CheckEnds()
    {
        foreach ((GenerationKey key, Submission submission) in Accepted)
        {
            void Hold(bool holds, Func<string> fault) => Promises.Hold(
                holds, () => $"{key} {fault()}\n{_cluster.Story(key.ToString())}");
            if (!Stored.TryGetValue(key, out GenerationState? state) || state.Closure != GenerationClosure.None)
            {
                Hold(Deleting.Contains(key), () => "was accepted and is lost");
                continue;
            }

            Hold(!Deleted.Contains(key), () => "was deleted and still exists");
            Hold(!state.IsOpen, () => "has not ended");
            Hold(state.Submission == submission, () => "is another submission");
            Hold(
                !Cancelled.Contains(key) || state.Phase == GenerationPhase.Cancelled,
                () => $"was cancelled and is {state.Phase}");
            Restarts += state.Restarts;
            switch (state.Phase)
            {
                case GenerationPhase.Done:
                    Done++;
                    Hold(!Poison.Contains(key) && !Broken.Contains(key), () => "is done, which is impossible");
                    byte[] picture = _cluster.Store.Blobs.GetValueOrDefault(state.Picture!.Value) ?? [];
                    Hold(
                        FakeDevice.Undisturbed(submission.Spec, state.DeviceKind!).AsSpan().SequenceEqual(picture),
                        () => $"has other bytes than an undisturbed run on {state.DeviceKind}");
                    Hold(
                        state.Previews.Count == GenerationEvents.PreviewSteps(submission).Length,
                        () => "has a preview missing");
                    break;
                case GenerationPhase.Failed:
                    Failed++;
                    GenerationError expected = Broken.Contains(key)
                        ? GenerationError.KernelFailed
                        : GenerationError.WorkerLost;
                    bool isLost = state.Error == GenerationError.WorkerLost && _lostAlone.GetValueOrDefault(key) >= 3;
                    Hold(
                        isLost || (state.Error == expected && Broken.Contains(key)),
                        () =>
                            $"failed as {state.Error} ({state.Message}) after {_lostAlone.GetValueOrDefault(key)} "
                            + "losses alone");
                    break;
                default:
                    Hold(state.Phase == GenerationPhase.Cancelled, () => $"is {state.Phase}");
                    break;
            }
        }
    }

    /// <summary>
    /// No needed blob is gone, and no unneeded one is left, except what a killed process may not have reported.
    /// </summary>
    public void CheckBlobs()
    {
        HashSet<BlobName> named = [];
        foreach ((GenerationKey key, GenerationState state) in Stored)
        {
            foreach (BlobName name in state.Needed())
            {
                named.Add(name);
                Hold(
                    _cluster.Store.Blobs.ContainsKey(name),
                    () => $"{key} needs {name}, which is gone\n{_cluster.Story(key.ToString())}");
            }
        }

        foreach (BlobName name in _cluster.Store.Blobs.Keys.Where(name => !named.Contains(name)))
        {
            Left++;
            Hold(
                _cluster.Store.Writers[name].Exists(silo => silo.WasKilled),
                () => $"{name} is left, and nobody who stored it was killed\n{_cluster.Story(null)}");
        }
    }

    /// <summary>After a sweep that nothing disturbs, everything in the store is needed.</summary>
    public void CheckSwept()
    {
        BlobName[] left = [.. _cluster.Store.Blobs.Keys.Except(Stored.SelectMany(one => one.Value.Needed()))];
        Hold(left.Length == 0, () => $"the sweep has left {string.Join(' ', left)}\n{_cluster.Story(null)}");
        CheckBlobs();
    }

    /// <summary>The events that one client received of a generation have no gap and no duplicate.</summary>
    public void CheckEvents(GenerationKey key, IReadOnlyList<GenerationEvent> heard)
    {
        if (!Stored.TryGetValue(key, out GenerationState? state) || state.Submission is null)
        {
            return;
        }

        void Hold(bool holds, Func<string> fault) => Promises.Hold(
            holds,
            () =>
                $"{key} "
                + $"{fault()}\n{string.Join(' ', heard.Select(one => one.Number))}\n{_cluster.Story(key.ToString())}");
        EventNumber[] numbers = [.. heard.Select(one => one.Number)];
        GenerationEvent[] all = [.. GenerationEvents.EventsAfter(state, EventNumber.Before)];
        Hold(heard[^1].IsLast, () => "has no last event");
        Hold(numbers.SequenceEqual(numbers.Distinct().Order()), () => "has an event twice");
        if (state is { Phase: GenerationPhase.Done, Restarts: 0 })
        {
            Hold(heard.SequenceEqual(all), () => "has events that differ from its state's");
        }

        // Steps that were lost with a worker are reported once.
        int steps = numbers.Count(one => one.Phase == (int)GenerationPhase.Denoising) - 1;
        Hold(
            all.All(one => numbers.Contains(one.Number))
            && numbers.Where(one => one.Step > 0).Select(one => one.Step).SequenceEqual(
                Enumerable.Range(1, Math.Max(0, steps))),
            () => "has a gap in its events");
    }

    // Histories are long, so a message is built only if there is a fault.
    public static void Hold(bool holds, Func<string> fault)
    {
        if (!holds)
        {
            Assert.Fail(fault());
        }
    }

    // Stored states only move forward.
    private void Writing(string text, byte[]? before, byte[]? after)
    {
        if (text.Split('/') is not ["generation", var tenant, var id, "generation"])
        {
            return;
        }

        var key = new GenerationKey(new TenantId(tenant), new GenerationId(id));
        GenerationState old = Stored.GetValueOrDefault(key) ?? new GenerationState();
        if (after is null)
        {
            _cluster.Note($"{key} is forgotten");
            Forgotten++;
            Stored.Remove(key);
            return;
        }

        GenerationState next = Wire.Read<GenerationState>(after);
        Stored[key] = next;
        (int step, long lease) = (next.SnapshotStep, next.LastLease);
        _cluster.Note(
            $"{key} {next.Phase} {next.Closure} epoch {next.Epoch} step {step} lease {lease} {next.Claim}");
        void Hold(bool holds, Func<string> fault) => Promises.Hold(
                holds, () => $"{key} {fault()}\n{_cluster.Story(key.ToString())}");
        if (next.Closure == GenerationClosure.Deleted && old.Closure == GenerationClosure.None)
        {
            TimeSpan age = _cluster.Time.Now - _endedAt.GetValueOrDefault(key);
            Hold(
                Deleting.Contains(key)
                || (old.Submission?.Session is { } session
                    && DeletingSessions.Contains(new SessionKey(key.Tenant, session)))
                || (!old.IsOpen && age >= _cluster.Options.Retention.Generations),
                () => $"is forgotten after {age}");
            return;
        }

        Hold(old.Closure == GenerationClosure.None || next.Closure == old.Closure, () => "is gone and comes back");
        Hold(old.Submission is null || next.Submission is not null, () => "was accepted and is overwritten");
        Hold(
            old.Submission is null || old.IsOpen || next.Phase == old.Phase,
            () => $"has ended as {old.Phase} and continues");
        Hold(next.Epoch >= old.Epoch, () => $"goes from epoch {old.Epoch} to {next.Epoch}");
        Hold(
            !next.IsOpen || next.SnapshotStep >= old.SnapshotStep || next.Restarts == old.Restarts + 1,
            () => $"goes from snapshot {old.SnapshotStep} to {next.SnapshotStep}");
        if (!next.IsOpen && (old.IsOpen || old.Submission is null))
        {
            _endedAt.TryAdd(key, _cluster.Time.Now);
            Computed.TryAdd(key, next.Computed);
        }
    }
}

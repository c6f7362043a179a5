// A whole cluster of pure protocols in one thread: queue, generations with their store, open set, workers and a client,
// in simulated time under a seed. Messages are lost, come late and twice; workers, queues and generations die between
// any two of them; a generation or a queue may be active twice. Networks are chains of hashes, so a picture's bytes
// tell how it was made: from which steps, in which order, on which kind of device.
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;
using Atelier.Grains.Generations;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>Counts of what happened, to see that the faults are really there.</summary>
internal sealed class SimulationCounts
{
    public int Done, Failed, Cancelled, Deaths, Losses, Conflicts, Repeats, Restarts, QueueDeaths, Releases;
}

internal sealed class ClusterSimulation(int seed, SimulationCounts counts)
{
    private static readonly TimeSpan s_tick = TimeSpan.FromMilliseconds(250);
    private static readonly GenerationOptions s_options = new()
    {
        ClaimQuiet = TimeSpan.FromSeconds(0.6), SubmitTimeout = TimeSpan.FromSeconds(5), DeviceKindPatience = TimeSpan.FromSeconds(8),
    };

    private static readonly WorkQueueOptions s_queueOptions = new() { LeaseTime = TimeSpan.FromSeconds(1) };

    private readonly Random _random = new(seed);
    private readonly GenerationMachine _machine = new(s_options);
    private readonly Dictionary<GenerationKey, TaggedState> _store = [];
    private readonly Dictionary<GenerationKey, Activation?[]> _active = [];
    private readonly Dictionary<BlobName, string> _blobs = [];
    private readonly OpenSetState _openState = new();
    private readonly List<Action> _late = [];
    private readonly List<Worker> _workers = [];
    private readonly HashSet<GenerationKey> _accepted = [];
    private readonly HashSet<GenerationKey> _poison = [];
    private readonly Dictionary<GenerationKey, int> _lostAlone = [];
    private readonly List<string> _story = [];
    private WorkQueue _queue = new(s_queueOptions, 0);
    private WorkQueue? _otherQueue;
    private DateTimeOffset _now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private bool _faulty = true;
    private int _processes;
    private int _writes;
    private long _attempts;

    private OpenSet Open => new(_openState, s_options.SubmitTimeout);

    public void Run()
    {
        for (int i = 0; i < 4; i++)
        {
            _workers.Add(NewWorker($"w{i}", i % 2 == 0 || seed % 3 > 0 ? "cpu" : "gpu"));
        }

        GenerationKey[] keys = [.. Enumerable.Range(0, 12).Select(i => new GenerationKey(new TenantId($"t{i % 3}"), new GenerationId($"g{i}")))];
        _ = seed % 4 == 0 && _poison.Add(keys[5]);
        for (int tick = 0; tick < 4000; tick++)
        {
            _now += s_tick;
            _faulty = tick < 150;
            if (tick == 150)
            {
                // One device kind is gone for good.
                _workers.Where(worker => worker.Kind != "cpu").ToList().ForEach(Die);
            }

            if (_faulty)
            {
                Client(keys[..Math.Min(keys.Length, 1 + (tick / 12))]);
                Disturb();
            }

            if (tick % 40 == 39)
            {
                Walk();
            }

            foreach (Worker worker in _workers.OrderBy(_ => _random.Next()).ToArray())
            {
                Guarded(() => Tick(worker), worker);
            }

            if (!_faulty && _accepted.All(key => Stored(key) is { IsOpen: false }) && _openState.Added.Count == 0)
            {
                Check();
                return;
            }
        }

        GenerationKey[] open = [.. _accepted.Where(key => Stored(key) is not { IsOpen: false })];
        throw new InvalidOperationException(
            string.Join("\n", open.Select(key => Story(key, $"{key} never ended")))
            + $"\nopen: {string.Join(", ", _openState.Added.Keys)}; {_queue.Status(_now)}");
    }

    private void Check()
    {
        foreach (GenerationKey key in _accepted)
        {
            GenerationState state = Stored(key)!;
            counts.Restarts += state.Restarts;
            Assert.All(
                state.Needed(), name => Assert.True(_blobs.ContainsKey(name), Story(key, $"{key} has lost {name}")));
            switch (state.Phase)
            {
                case GenerationPhase.Done:
                    counts.Done++;
                    Assert.DoesNotContain(key, _poison);
                    Assert.True(
                        Undisturbed(key, state.DeviceKind!) == _blobs[state.Picture!.Value],
                        Story(key, $"{key} has other bytes than an undisturbed run on {state.DeviceKind}"));
                    Tell(key, state);
                    break;
                case GenerationPhase.Failed:
                    counts.Failed++;
                    Assert.Equal(GenerationError.WorkerLost, state.Error);
                    Assert.True(_lostAlone.GetValueOrDefault(key) >= 3, Story(key, $"{key} was given up after {_lostAlone.GetValueOrDefault(key)} deaths alone"));
                    break;
                default:
                    counts.Cancelled++;
                    Assert.Equal(GenerationPhase.Cancelled, state.Phase);
                    break;
            }
        }
    }

    private string Story(GenerationKey key, string fault) =>
        string.Join("\n", _story.Where(line => line.Contains(key + " ", StringComparison.Ordinal) || line.EndsWith(key.ToString(), StringComparison.Ordinal)).Append(fault));

    // Whoever resubscribes from any event hears exactly the rest.
    private static void Tell(GenerationKey key, GenerationState state)
    {
        GenerationEvent[] all = [.. GenerationMachine.EventsAfter(state, EventNumber.Before)];
        Assert.Equal(7 + state.Submission!.Spec.Steps, all.Length);
        Assert.Equal(all.Select(e => e.Number), all.Select(e => e.Number).Distinct().Order());
        for (int i = 0; i < all.Length; i++)
        {
            Assert.Equal(all[(i + 1)..], GenerationMachine.EventsAfter(state, all[i].Number));
        }

        Assert.Equal(state.Submission.Previews, all.Count(e => e.Preview is not null));
        Assert.True(key.Id.Value.Length > 0);
    }

    // The client submits, repeats what it has no answer to, and cancels a few.
    private void Client(GenerationKey[] keys)
    {
        GenerationKey key = keys[_random.Next(keys.Length)];
        try
        {
            if (_random.Next(60) == 0 && _accepted.Contains(key))
            {
                Send(() => Command(key, state => GenerationMachine.Cancel(state, _now)));
                After(key);
                Send(() => { _queue.Withdraw(key, _now); return 0; });
            }
            else if (!_accepted.Contains(key) && Send(() => Submit(key)))
            {
                _accepted.Add(key);
            }
        }
        catch (LostException)
        {
        }
    }

    private bool Submit(GenerationKey key)
    {
        var submission = new Submission { Spec = Spec(key), Previews = 2 };
        GenerationState state = Activate(key).Held.State;
        if (GenerationMachine.Known(state, submission) is { } known)
        {
            return known == SubmitOutcome.Exists;
        }

        Offer(_machine.Item(GenerationMachine.Accept(submission, 1, new GenerationCost(1, 2, 3), _now), key), false);
        Perish();
        if (!Open.Add(key, _now))
        {
            return false;
        }

        Perish();
        Command(key, s => GenerationMachine.Known(s, submission) is null
            ? new Outcome<bool>(GenerationMachine.Accept(submission, 1, new GenerationCost(1, 2, 3), _now), true, true)
            : new Outcome<bool>(s, true, false));
        return Stored(key)!.Submission is not null;
    }

    private void Disturb()
    {
        for (int i = _random.Next(3); i > 0 && _late.Count > 0; i--)
        {
            int which = _random.Next(_late.Count);
            Action action = _late[which];
            _late.RemoveAt(which);
            counts.Repeats++;
            Try(action);
        }

        if (_random.Next(40) == 0)
        {
            // A queue dies, or for a while there are two.
            counts.QueueDeaths++;
            _otherQueue = _random.Next(2) == 0 ? _queue : null;
            _queue = new WorkQueue(s_queueOptions, _now.UtcTicks);
            Walk();
        }

        if (_random.Next(25) == 0)
        {
            Die(_workers[_random.Next(_workers.Count)]);
        }

        foreach (GenerationKey key in _active.Keys.Where(_ => _random.Next(60) == 0).ToArray())
        {
            _active.Remove(key);
        }
    }

    private void Walk()
    {
        foreach (WalkQuestion question in Open.Walk(_now))
        {
            try
            {
                if (!Send(() => Command(question.Generation, s => GenerationMachine.Ensure(s, question.Late, _now))))
                {
                    Open.Remove(question.Generation);
                }
                else if (Activate(question.Generation).Held.State is { IsOpen: true } state)
                {
                    Offer(_machine.Item(state, question.Generation), true);
                }
            }
            catch (LostException)
            {
            }
        }
    }

    // One turn, one quantum of all that it holds.
    private void Tick(Worker worker)
    {
        var turn = new WorkerTurn
        {
            Worker = worker.Name, DeviceKind = worker.Kind, Roles = WorkRoles.All, Free = worker.Free,
            Held = [.. worker.Jobs.Select(job => new HeldWork(job.Lease, job.Item, job.Done))],
        };
        Job[] asked = [.. worker.Jobs];
        if (Try(() => Send(() => Queue().Turn(turn, _now))) is { } answer)
        {
            for (int i = 0; i < asked.Length; i++)
            {
                if (answer.Verdicts[i] != WorkVerdict.Continue)
                {
                    worker.Jobs.Remove(asked[i]);
                    Park(asked[i], answer.Verdicts[i]);
                }
            }

            foreach (LeasedWork lease in answer.Leased)
            {
                Claim(worker, lease);
            }
        }

        foreach (Job job in worker.Jobs.ToArray())
        {
            Perish();
            Work(worker, job);
        }
    }

    private void Claim(Worker worker, LeasedWork lease)
    {
        var request = new ClaimRequest(worker.Name, lease.Lease, lease.Item.Kind, worker.Kind, lease.Item.Alone && worker.Jobs.Count == 0, ++_attempts);
        GenerationKey key = lease.Item.Generation;
        ClaimAnswer? answer = null;
        for (int attempt = 0; attempt < 10 && answer is null; attempt++)
        {
            answer = Try(() => Send(() => Command(key, (s, a) => _machine.Claim(s, key, request, a.HeardAt, _now))));
        }

        _story.Add($"{_now:mm:ss.ff} {worker.Name} {worker.Kind} claims on {lease.Lease}: {answer?.Outcome} of {key}");
        switch (answer?.Outcome)
        {
            case ClaimOutcome.Granted:
                worker.Jobs.Add(new Job
                {
                    Lease = lease.Lease, Item = lease.Item, Answer = answer, Step = answer.Step, Alone = request.Alone,
                    Latent = answer.Snapshot is { } snapshot
                        ? Read(key, answer.Epoch, snapshot)
                        : $"{key}/{worker.Kind}/noise",
                });
                break;
            case ClaimOutcome.NotYou:
                Give(lease.Lease, answer.Item!, LeaseEnd.Returned);
                break;
            case ClaimOutcome.Nothing:
                Give(lease.Lease, lease.Item, LeaseEnd.Finished);
                break;
        }
    }

    private void Work(Worker worker, Job job)
    {
        GenerationKey key = job.Item.Generation;
        if (job.Output is null)
        {
            switch (job.Item.Kind)
            {
                case WorkKind.Encode:
                    job.Output = Put("captions", key, $"{key}/caption");
                    break;
                case WorkKind.Decode:
                    string latent = Read(key, job.Answer.Epoch, job.Answer.Latent!.Value);
                    job.Output = Put("pictures", key, Hash(latent + "/picture"));
                    break;
                default:
                    Step(worker, job);
                    break;
            }
        }

        if (job.Previews.Count > 0)
        {
            // Told again until it is known to be heard: previews come before the end.
            Tell(worker, job, snapshot: true);
        }

        if (job.Output is { } output && job.Previews.Count == 0 && worker.Jobs.Contains(job))
        {
            ReportOutcome? outcome = Ask(() => Command(key, s => GenerationMachine.Complete(s, job.Answer.Epoch, output, _now)));
            if (outcome is not null)
            {
                worker.Jobs.Remove(job);
                Give(job.Lease, job.Item, LeaseEnd.Finished);
                After(key);
            }
        }
    }

    private void Step(Worker worker, Job job)
    {
        GenerationKey key = job.Item.Generation;
        if (_poison.Contains(key) && job.Step == 3)
        {
            Die(worker);
            throw new LostException();
        }

        if (job.Step == Spec(key).Steps)
        {
            // The snapshot was that of the last step.
            job.Output = Put("latents", key, job.Latent);
            return;
        }

        job.Latent = Hash($"{job.Latent}/{worker.Kind}/{job.Step}");
        (job.Step, job.Done) = (job.Step + 1, job.Done + 1);
        if (job.Answer.PreviewSteps.Contains(job.Step))
        {
            job.Previews[job.Step] = Put("previews", key, Hash(job.Latent + "/preview"));
        }

        if (job.Step == Spec(key).Steps)
        {
            job.Output = Put("latents", key, job.Latent);
        }

        Tell(worker, job, job.Output is not null || job.Previews.Count > 0 || _random.Next(2) == 0);
    }

    private void Tell(Worker worker, Job job, bool snapshot)
    {
        GenerationKey key = job.Item.Generation;
        StepReport report = Report(job, snapshot);
        ReportOutcome? outcome = Ask(() => Command(key, s => GenerationMachine.Report(s, report)));
        if (outcome == ReportOutcome.Refused)
        {
            worker.Jobs.Remove(job);
        }
        else if (outcome == ReportOutcome.Taken && snapshot)
        {
            job.Previews.Clear();
        }
    }

    // Whether it is parked or stopped, the generation hears that this was no death.
    private void Park(Job job, WorkVerdict verdict)
    {
        GenerationKey key = job.Item.Generation;
        bool stepped = job.Item.Kind == WorkKind.Denoise && job.Step > 0;
        StepReport report = Report(job, stepped);
        if (Ask(() => Command(key, s => GenerationMachine.Release(s, report, _now))) == ReportOutcome.Taken && verdict == WorkVerdict.Park)
        {
            Give(job.Lease, _machine.Item(Activate(key).Held.State, key), LeaseEnd.Returned);
        }
    }

    private StepReport Report(Job job, bool snapshot) => new()
    {
        Epoch = job.Answer.Epoch, Step = job.Step, Previews = new Dictionary<int, BlobName>(job.Previews),
        Snapshot = snapshot ? Put("snapshots", job.Item.Generation, job.Latent) : null,
    };

    private void Give(long lease, WorkItem item, LeaseEnd end) =>
        Try(() => Send(() => { Queue().Release(new LeaseRelease(lease, item, end), _now); return 0; }));

    private void Offer(WorkItem item, bool admitted) => Try(() => Send(() => Queue().Offer(item, admitted, _now)));

    // What the generation's grain does after a phase has changed.
    private void After(GenerationKey key)
    {
        if (Stored(key) is { } state)
        {
            if (state.IsOpen)
            {
                Offer(_machine.Item(state, key), true);
            }
            else
            {
                Open.Remove(key);
            }
        }
    }

    private void Die(Worker worker)
    {
        counts.Deaths++;
        _story.Add($"{_now:mm:ss.ff} {worker.Name} dies with {string.Join(", ", worker.Jobs.Select(job => $"{job.Item.Generation}{(job.Alone ? " alone" : "")}"))}");
        foreach (Job job in worker.Jobs.Where(job => job.Alone && worker.Jobs.Count == 1))
        {
            _lostAlone[job.Item.Generation] = _lostAlone.GetValueOrDefault(job.Item.Generation) + 1;
        }

        int place = _workers.IndexOf(worker);
        _workers[place] = NewWorker(_random.Next(2) == 0 ? worker.Name : $"{worker.Name}-{++_processes}", _faulty ? worker.Kind : "cpu");
    }

    private void Guarded(Action action, Worker worker)
    {
        try
        {
            action();
        }
        catch (LostException)
        {
            // A fault that nobody handles ends the process.
            if (_workers.Contains(worker))
            {
                Die(worker);
            }
        }
    }

    private T Command<T>(GenerationKey key, Func<GenerationState, Outcome<T>> command) => Command(key, (s, _) => command(s));

    private T Command<T>(GenerationKey key, Func<GenerationState, Activation, Outcome<T>> command)
    {
        Activation activation = Activate(key);
        Outcome<T> outcome = command(activation.Held.State, activation);
        if (outcome.IsRefusal)
        {
            activation.Held = activation.Held.After(Read(key));
            outcome = command(activation.Held.State, activation);
        }

        if (outcome.Answer is ReportOutcome.Taken or ClaimAnswer { Outcome: ClaimOutcome.Granted })
        {
            activation.HeardAt = _now;
        }

        string? tag = activation.Held.Tag;
        if (outcome.Store)
        {
            DieWith(key);
            TaggedState stored = Read(key);
            if (stored.Tag != tag)
            {
                counts.Conflicts++;
                _active.Remove(key);
                throw new LostException();
            }

            AssertFollows(key, stored.State, outcome.State);
            tag = $"{++_writes}";
            _store[key] = new TaggedState(outcome.State, tag);
            _story.Add(
                $"{_now:mm:ss.ff} {key} {outcome.State.Phase} epoch {outcome.State.Epoch} step {outcome.State.SnapshotStep} "
                + $"barren {outcome.State.BarrenClaims} alone {outcome.State.DeathsAlone} {outcome.State.Claim?.Worker} {outcome.State.Claim?.DeviceKind} {outcome.State.LastLease}");
            DieWith(key);
        }

        bool isNew = outcome.State.Epoch != activation.Held.State.Epoch;
        activation.Held = new TaggedState(outcome.State, tag);
        if (outcome.Store || outcome.Answer is ReportOutcome)
        {
            Release(activation, isNew);
        }

        return outcome.Answer;
    }

    // What is stored only ever goes on: nothing accepted is taken back, nothing ended goes on, and a snapshot goes back
    // only where the picture starts again.
    private void AssertFollows(GenerationKey key, GenerationState old, GenerationState next)
    {
        Assert.True(old.Phase < GenerationPhase.Done, $"{key} ended as {old.Phase} and was changed afterwards");
        Assert.True(
            old.Submission is null || next.Submission is not null, Story(key, $"{key} was accepted and is overwritten"));
        Assert.True(next.Epoch >= old.Epoch, Story(key, $"{key} went from epoch {old.Epoch} to {next.Epoch}"));
        Assert.True(
            next.SnapshotStep >= old.SnapshotStep || next.Restarts == old.Restarts + 1,
            Story(key, $"{key} went from snapshot {old.SnapshotStep} to {next.SnapshotStep}"));
    }

    // As the generation's grain does; now and then the store does not answer.
    private void Release(Activation activation, bool isNew)
    {
        GenerationState state = activation.Held.State;
        BlobName[] due = isNew || !state.IsClaimed ? [.. state.ToRelease, .. state.Late] : state.ToRelease;
        BlobName[] done = [.. due.TakeWhile(_ => !_faulty || _random.Next(10) > 0)];
        counts.Releases += done.Count(name => _blobs.Remove(name));
        activation.Held = activation.Held with
        {
            State = state with { ToRelease = [.. state.ToRelease.Except(done)], Late = [.. state.Late.Except(done)] },
        };
    }

    // What a claim needs is there for as long as it is the last one.
    private string Read(GenerationKey key, long epoch, BlobName name)
    {
        if (_blobs.TryGetValue(name, out string? content))
        {
            return content;
        }

        Assert.False(
            Stored(key) is { IsClaimed: true } state && state.Epoch == epoch, $"{key} needs {name}, which was released");
        throw new LostException();
    }

    private void DieWith(GenerationKey key)
    {
        if (_faulty && _random.Next(80) == 0)
        {
            _active.Remove(key);
            throw new LostException();
        }
    }

    private Activation Activate(GenerationKey key)
    {
        if (!_active.TryGetValue(key, out Activation?[]? both))
        {
            _active.Add(key, both = new Activation?[2]);
        }

        int which = _faulty && _random.Next(20) == 0 ? 1 : 0;
        if (both[which] is null)
        {
            both[which] = new Activation { Held = Read(key), HeardAt = _now };
        }

        return both[which]!;
    }

    private WorkQueue Queue() => _faulty && _otherQueue is not null && _random.Next(3) == 0 ? _otherQueue : _queue;

    // A message: it may be lost, its answer may be lost, and it may come again later.
    private T Send<T>(Func<T> message)
    {
        int fate = _faulty ? _random.Next(100) : 100;
        if (fate < 3)
        {
            counts.Losses++;
            throw new LostException();
        }

        T answer = message();
        if (fate < 6)
        {
            counts.Losses++;
            throw new LostException();
        }

        if (fate < 14)
        {
            _late.Add(() => message());
        }

        return answer;
    }

    private ReportOutcome? Ask(Func<ReportOutcome> command)
    {
        for (int attempt = 0; attempt < 3; attempt++)
        {
            try
            {
                return Send(command);
            }
            catch (LostException)
            {
            }
        }

        return null;
    }

    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (LostException)
        {
        }
    }

    private static T? Try<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (LostException)
        {
            return default;
        }
    }

    // Death between two messages.
    private void Perish()
    {
        if (_faulty && _random.Next(150) == 0)
        {
            throw new LostException();
        }
    }

    private static Worker NewWorker(string name, string kind) => new() { Name = name, Kind = kind };

    private GenerationState? Stored(GenerationKey key) => _store.TryGetValue(key, out TaggedState one) ? one.State : null;

    private TaggedState Read(GenerationKey key) => _store.GetValueOrDefault(key, new TaggedState(new GenerationState(), null));

    private BlobName Put(string kind, GenerationKey key, string content)
    {
        BlobName name = BlobName.Of(kind, key.Tenant, Hash(content));
        _blobs[name] = content;
        return name;
    }

    private static GenerationSpec Spec(GenerationKey key) => new()
    {
        Model = new ModelDigest(new string('a', 64)), Prompt = key.ToString(), Steps = 3 + (key.Id.Value[^1] % 5), Width = 8, Height = 8,
    };

    private static string Undisturbed(GenerationKey key, string kind)
    {
        string latent = $"{key}/{kind}/noise";
        for (int step = 0; step < Spec(key).Steps; step++)
        {
            latent = Hash($"{latent}/{kind}/{step}");
        }

        return Hash(latent + "/picture");
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private sealed class LostException : Exception;

    private sealed class Activation
    {
        public required TaggedState Held { get; set; }

        public DateTimeOffset HeardAt { get; set; }
    }

    private sealed class Worker
    {
        public required string Name { get; init; }

        public required string Kind { get; init; }

        public List<Job> Jobs { get; } = [];

        public int Free => Jobs.Exists(job => job.Alone) ? 0 : Math.Max(0, 3 - Jobs.Count);
    }

    private sealed class Job
    {
        public required long Lease { get; init; }

        public required WorkItem Item { get; init; }

        public required ClaimAnswer Answer { get; init; }

        public required bool Alone { get; init; }

        public required string Latent { get; set; }

        public int Step { get; set; }

        public int Done { get; set; }

        public BlobName? Output { get; set; }

        public Dictionary<int, BlobName> Previews { get; } = [];
    }
}

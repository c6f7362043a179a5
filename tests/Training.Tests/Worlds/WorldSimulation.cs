// A stage in simulated time: trainers, the connections between them, the manager's activations and its store. The
// weights are a hash chain over all gradients, so that a single wrong bit shows in every later state.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Atelier.Training.Worlds;

namespace Atelier.Training.Tests.Worlds;

/// <summary>Kinds of faults that a seed may contain.</summary>
[Flags]
internal enum Faults
{
    None = 0,
    Kills = 1,
    AllDie = 2,
    Breaks = 4,
    HalfDead = 8,
    Partition = 16,
    ManagerDies = 32,
    TwoManagers = 64,
    StoreFails = 128,
    LostCalls = 256,
    Slow = 512,
    Leaves = 1024,
    DamagedState = 2048,
    WrongShards = 4096,
    NotFinite = 8192,
    WrongMeasure = 16384,
    Serving = 32768,
}

/// <summary>A slice of a gradient; the first slice also has the claims about its shards.</summary>
internal sealed record SimulatedSlice(ulong[] Values, ImmutableArray<ShardClaim> Claims);

internal sealed class WorldSimulation
{
    public const int Elements = 16;
    public const int VerifyInterval = 5;
    public const int Parts = 2;

    private const int WorldsMax = 12;
    private const Faults Wrong = Faults.DamagedState | Faults.WrongShards | Faults.NotFinite | Faults.WrongMeasure;

    private readonly PriorityQueue<Action, (TimeSpan At, long Order)> _events = new();
    private readonly List<ulong> _states = [0x9E3779B97F4A7C15];
    private readonly Dictionary<(string, string), TimeSpan> _lastArrival = [];
    private readonly List<string> _history = [];
    private readonly Queue<TimeSpan> _formedAt = [];
    private long _order;
    private long _incarnations;
    private readonly int _trainers;
    private string? _tag;

    public WorldSimulation(int seed, int shards, int trainers, Faults faults)
    {
        (Random, Shards, Faults, _trainers) = (new Random(seed), shards, faults, trainers);
        Managers.Add(new SimulatedManager(this));
        for (int i = 0; i < trainers; i++)
        {
            Boot($"t{i}");
        }
    }

    public Random Random { get; }

    public int Shards { get; }

    public Faults Faults { get; }

    public TimeSpan Now { get; private set; }

    /// <summary>Whether faults still happen.</summary>
    public bool IsStormy { get; set; } = true;

    public WorldRecord Stored { get; private set; } = new(null, 0);

    public Dictionary<long, ulong> Checkpoints { get; } = new() { [0] = 0x9E3779B97F4A7C15 };

    public List<SimulatedTrainer> Trainers { get; } = [];

    public List<SimulatedManager> Managers { get; } = [];

    /// <summary>Pairs between which the data connection does not work in the given direction.</summary>
    public HashSet<(string From, string To)> Dead { get; } = [];

    public int Applied { get; private set; }

    public int Worlds { get; private set; }

    public string Story => string.Join('\n', _history.TakeLast(120).Concat(
        Trainers.Select(one => $"{one.Id}: {one.Replica}")).Append($"manager: {Managers[^1]}"));

    /// <summary>Whether trainers of this seed may compute wrong numbers.</summary>
    public bool IsDoubtful => (Faults & Wrong) != Faults.None;

    /// <summary>Heartbeats that trainers have sent.</summary>
    public long Calls { get; private set; }

    /// <summary>Factor on the time that a shard takes.</summary>
    public double Slowness { get; set; } = 1;

    /// <summary>How often members began to compute each shard of each step.</summary>
    public Dictionary<(long Step, int Shard), int> Computed { get; } = [];

    /// <summary>Number of steps between checkpoints.</summary>
    public int SaveInterval { get; set; } = 10;

    public bool Has(Faults fault) => (Faults & fault) != Faults.None && IsStormy;

    public void Note(string what) => _history.Add($"{Now.TotalSeconds,8:0.000} {what}");

    public void After(double seconds, Action action) =>
        _events.Enqueue(action, (Now + TimeSpan.FromSeconds(seconds), _order++));

    public void Run(TimeSpan until, Func<bool>? stop = null)
    {
        while (_events.TryPeek(out Action? action, out (TimeSpan At, long Order) key) && key.At <= until
            && stop?.Invoke() != true)
        {
            _events.Dequeue();
            Now = key.At;
            action();
        }
    }

    public SimulatedTrainer Boot(string name)
    {
        var trainer = new SimulatedTrainer(this, new TrainerId(name, ++_incarnations));
        Trainers.Add(trainer);
        Note($"{trainer.Id} starts");
        trainer.Beat();
        return trainer;
    }

    public void Kill(SimulatedTrainer trainer)
    {
        if (trainer.IsAlive)
        {
            Note($"{trainer.Id} is killed at {trainer.Replica.Position}");
            trainer.IsAlive = false;
            Trainers.Remove(trainer);

            // The kernel closes its connections.
            foreach (SimulatedTrainer other in Trainers.ToArray())
            {
                After(0.01, () => other.Broken(trainer.Id));
            }
        }
    }

    /// <summary>Sends a frame; frames of one connection arrive in order.</summary>
    public void Send(SimulatedTrainer from, TrainerId to, Frame frame)
    {
        double delay = (Random.NextDouble() * 0.02)
            + (Has(Faults.Slow) && Random.Next(20) == 0 ? Random.NextDouble() : 0);
        TimeSpan at = Now + TimeSpan.FromSeconds(delay);
        (string, string) link = (from.Id.ToString(), to.ToString());
        at = _lastArrival.TryGetValue(link, out TimeSpan last) && last > at ? last : at;
        _lastArrival[link] = at;
        _events.Enqueue(
            () =>
            {
                SimulatedTrainer? there = Trainers.FirstOrDefault(one => one.Id == to);
                if (there is null or { IsFrozen: true } || Dead.Contains((from.Id.Name, to.Name)))
                {
                    from.Lost(to);
                }
                else
                {
                    there.Receive(from.Id, frame);
                }
            },
            (at, _order++));
    }

    /// <summary>Sends a heartbeat to an activation of the manager; it may be lost.</summary>
    public void Call(SimulatedTrainer from, TrainerReport report, StateReport state)
    {
        Calls++;
        if (Has(Faults.LostCalls) && Random.Next(5) == 0)
        {
            return;
        }

        SimulatedManager manager = Managers[Has(Faults.TwoManagers) ? Random.Next(Managers.Count) : ^1];
        After(Random.NextDouble() * 0.05, () =>
        {
            if (!manager.IsAlive)
            {
                return;
            }

            SimulatedAnswer answer = manager.Receive(report, state);
            if (Has(Faults.LostCalls) && Random.Next(5) == 0)
            {
                return;
            }

            After(Random.NextDouble() * 0.05, () =>
            {
                if (from.IsAlive)
                {
                    from.Answered(answer);
                }
            });
        });
    }

    /// <summary>Stores the record unless another one was stored since the tag was read.</summary>
    public void Store(SimulatedManager by, StageChange change, string? tag, Action<string?> done)
    {
        bool fails = Has(Faults.StoreFails) && Random.Next(3) == 0, isUnanswered = fails && Random.Next(2) == 0;
        After(Random.NextDouble() * 0.05, () =>
        {
            string? stored = null;
            WorldRecord record = change.World;
            if (tag == _tag && (!fails || isUnanswered))
            {
                if (change.Checkpoint is { } checkpoint)
                {
                    Commit(checkpoint);
                }

                if (change.Pauses)
                {
                    Pause(change.Reason);
                }

                if (record.World != Stored.World)
                {
                    Worlds++;
                    _formedAt.Enqueue(Now);
                    while (_formedAt.Peek() < Now - TimeSpan.FromSeconds(5))
                    {
                        _formedAt.Dequeue();
                    }

                    Check(_formedAt.Count <= WorldsMax, $"at most {WorldsMax} worlds are formed in five seconds");
                    Check(record.World!.Number > (Stored.World?.Number ?? 0), "worlds have rising numbers");
                    Check(
                        IsDoubtful || !record.World.Members.IsEmpty,
                        "nobody returns to a checkpoint while all compute right numbers");
                    Note($"{change.Reason}: world {record.World.Number} from step {record.World.FirstStep}: "
                        + string.Join(
                            ", ", record.World.Members.Select(m => $"{m.Id}={m.Shards.First}+{m.Shards.Count}"))
                        + $"; level {string.Join(", ", record.World.Level)}");
                }

                (Stored, _tag) = (record, $"{++_order}");
                stored = isUnanswered ? null : _tag;
            }

            After(Random.NextDouble() * 0.05, () =>
            {
                if (by.IsAlive)
                {
                    done(stored);
                }
            });
        });
    }

    /// <summary>Asks all trainers to report now: a hint, which may be lost.</summary>
    public void Wake()
    {
        foreach (SimulatedTrainer trainer in Trainers.Where(_ => !Has(Faults.LostCalls) || Random.Next(5) > 0))
        {
            After(Random.NextDouble() * 0.05, trainer.Report);
        }
    }

    public (WorldRecord Record, string? Tag) Read() => (Stored, _tag);

    /// <summary>The state of an undisturbed run after the given number of steps.</summary>
    public ulong Reference(long steps)
    {
        while (_states.Count <= steps)
        {
            long step = _states.Count - 1;
            var tree = new ReductionTree<SimulatedSlice>(Shards, Merge);
            for (int shard = 0; shard < Shards; shard++)
            {
                tree.Add(shard, new SimulatedSlice(Gradient(_states[^1], step, shard), []));
            }

            _states.Add(Next(_states[^1], step, tree.Total!.Values));
        }

        return _states[(int)steps];
    }

    public void HasApplied(SimulatedTrainer by, long step, ulong before, ulong after)
    {
        Applied++;
        if (!IsDoubtful)
        {
            Check(before == Reference(step), $"{by.Id} had the weights of step {step} before it applied it");
            Check(after == Reference(step + 1), $"{by.Id} has the weights of step {step + 1}");
        }
    }

    // A wrong checkpoint is committed only if all members that had its step have the same wrong state. That cannot be
    // detected, so the wrong state becomes the expected one.
    private void Commit(CheckpointManifest checkpoint)
    {
        long step = checkpoint.Step;
        ulong state = Convert.ToUInt64(checkpoint.Parts[0].Digest.Split('/')[0], 16);
        Note($"checkpoint {step} is committed");
        if (state != Reference(step))
        {
            Check(IsDoubtful, $"the checkpoint of step {step} holds its weights");
            foreach (SimulatedTrainer trainer in Trainers.Where(one => Stored.World!.Has(one.Id)
                && one.Replica.World == Stored.World))
            {
                Check(
                    trainer.StateAt(step) is not { } own || own == state,
                    $"{trainer.Id} holds what the wrong checkpoint of step {step} holds");
            }

            Note($"checkpoint {step} is wrong, and all hold it");
            _states.RemoveRange((int)step, _states.Count - (int)step);
            _states.Add(state);
        }

        Checkpoints[step] = state;
    }

    // A person resumes the stage a little later.
    private void Pause(string reason)
    {
        Note($"pauses: {reason}");
        Check(IsDoubtful, "a stage pauses only if somebody is wrong");
        foreach (SimulatedTrainer trainer in Trainers.ToArray())
        {
            Kill(trainer);
            After(5, () =>
            {
                if (Trainers.Count < _trainers && !Trainers.Any(one => one.Id.Name == trainer.Id.Name))
                {
                    Boot(trainer.Id.Name);
                }
            });
        }
    }

    public void Check(bool isTrue, string what)
    {
        if (!isTrue)
        {
            throw new InvalidOperationException($"not as promised: {what}\n{Story}");
        }
    }

    public static ulong[] Gradient(ulong state, long step, int shard) =>
        [.. Enumerable.Range(0, Elements).Select(i => Hash(state, (ulong)step, (ulong)shard, (ulong)i))];

    public static SimulatedSlice Merge(SimulatedSlice left, SimulatedSlice right) => new(
        [.. left.Values.Select((value, i) => Hash(value, right.Values[i], 17, 3))],
        left.Claims.AddRange(right.Claims));

    public static ShardClaim Claim(int shard, ulong[] gradient, bool isFinite) => new(
        shard, isFinite ? 1 : double.NaN, 1, gradient.Aggregate(7UL, (hash, value) => Hash(hash, value, 11, 13)));

    public static ulong Next(ulong state, long step, IEnumerable<ulong> total) =>
        total.Aggregate(state, (hash, value) => Hash(hash, (ulong)step, value, 5));

    private static ulong Hash(ulong a, ulong b, ulong c, ulong d)
    {
        ulong hash = a;
        foreach (ulong next in (ReadOnlySpan<ulong>)[b, c, d])
        {
            hash = (hash ^ next) * 0xFF51AFD7ED558CCD;
            hash ^= hash >> 32;
        }

        return hash;
    }
}

// A stage in simulated time: trainers, the connections between them, the manager's activations and its store. The
// weights are a hash chain over all gradients, so that one wrong bit anywhere shows in every state after it.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Training.Tests.Worlds;

/// <summary>What can go wrong in a seed.</summary>
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
}

internal sealed class WorldSimulation
{
    public const int Elements = 16;
    private const int SaveInterval = 10;

    private readonly PriorityQueue<Action, (TimeSpan At, long Order)> _events = new();
    private readonly List<ulong> _states = [0x9E3779B97F4A7C15];
    private readonly Dictionary<(string, string), TimeSpan> _lastArrival = [];
    private readonly List<string> _history = [];
    private long _order;
    private long _incarnations;
    private string? _tag;

    public WorldSimulation(int seed, int shards, int trainers, Faults faults)
    {
        (Random, Shards, Faults) = (new Random(seed), shards, faults);
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

    /// <summary>Pairs whose data connections do not work, in one direction.</summary>
    public HashSet<(string From, string To)> Dead { get; } = [];

    public int Applied { get; private set; }

    public int Worlds { get; private set; }

    public string Story => string.Join('\n', _history.TakeLast(120).Concat(
        Trainers.Select(one => $"{one.Id}: {one.Replica}")).Append($"manager: {Managers[^1]}"));

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

    /// <summary>A frame travels; frames of one connection arrive in order.</summary>
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
                    there.Replica.Receive(from.Id, frame);
                }
            },
            (at, _order++));
    }

    /// <summary>A heartbeat reaches an activation of the manager, or not.</summary>
    public void Call(SimulatedTrainer from, TrainerReport report)
    {
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

            ManagerAnswer answer = manager.Hear(report);
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

    /// <summary>Stores the record if nobody has stored another one since the tag.</summary>
    public void Store(SimulatedManager by, WorldRecord record, string? tag, Action<string?> done)
    {
        bool fails = Has(Faults.StoreFails) && Random.Next(3) == 0, isUnanswered = fails && Random.Next(2) == 0;
        After(Random.NextDouble() * 0.05, () =>
        {
            string? stored = null;
            if (tag == _tag && (!fails || isUnanswered))
            {
                if (record.World != Stored.World)
                {
                    Worlds++;
                    Check(record.World!.Number > (Stored.World?.Number ?? 0), "worlds have rising numbers");
                    Note($"world {record.World.Number} from step {record.World.FirstStep}: "
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

    /// <summary>The state that an undisturbed run has after so many steps.</summary>
    public ulong Reference(long steps)
    {
        while (_states.Count <= steps)
        {
            long step = _states.Count - 1;
            var tree = new ReductionTree<ulong[]>(Shards, Merge);
            for (int shard = 0; shard < Shards; shard++)
            {
                tree.Add(shard, Gradient(_states[^1], step, shard));
            }

            _states.Add(Next(_states[^1], step, tree.Total!));
        }

        return _states[(int)steps];
    }

    public void HasApplied(SimulatedTrainer by, long step, ulong before, ulong after)
    {
        Applied++;
        Check(before == Reference(step), $"{by.Id} had the weights of step {step} before it applied it");
        Check(after == Reference(step + 1), $"{by.Id} has the weights of step {step + 1}");
        if ((step + 1) % SaveInterval == 0 && by.Replica.World is { } world)
        {
            After(0.2 + (Random.NextDouble() * 0.2), () => Managers[^1].Commit(world.Number, step + 1, after));
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

    public static ulong[] Merge(ulong[] left, ulong[] right) =>
        [.. left.Select((value, i) => Hash(value, right[i], 17, 3))];

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

/// <summary>A process that lends a device.</summary>
internal sealed class SimulatedTrainer : IReplicaHost<ulong[]>
{
    private readonly WorldSimulation _run;
    private readonly HashSet<TrainerId> _unreachable = [];
    private readonly HashSet<TrainerId> _broken = [];
    private ulong _state;
    private TimeSpan _free;

    public SimulatedTrainer(WorldSimulation run, TrainerId id)
    {
        (_run, Id) = (run, id);
        Speed = 0.5 + run.Random.NextDouble();
        Replica = new Replica<ulong[]>(id, run.Shards, WorldSimulation.Merge, this);
    }

    public TrainerId Id { get; }

    public double Speed { get; }

    public Replica<ulong[]> Replica { get; }

    public bool IsAlive { get; set; } = true;

    /// <summary>Hangs: it neither receives nor reports.</summary>
    public bool IsFrozen { get; set; }

    public bool IsLeaving { get; set; }

    public void Beat()
    {
        if (!IsAlive)
        {
            return;
        }

        Report();
        _run.After(1, Beat);
    }

    /// <summary>The connection to a peer that died is closed.</summary>
    public void Broken(TrainerId peer)
    {
        if (!IsAlive || !_broken.Add(peer))
        {
            return;
        }

        _run.After(1, () => _broken.Remove(peer));
        Replica.Disconnected(peer);
        if (Replica.World?.Has(peer) == true && _unreachable.Add(peer))
        {
            Report();
            _run.After(3, () => _unreachable.Remove(peer));
        }
    }

    /// <summary>Nothing that is sent to a peer arrives; the connection's own heartbeats show it to both ends.</summary>
    public void Lost(TrainerId peer) => _run.After(1, () =>
    {
        Broken(peer);
        if (_run.Trainers.FirstOrDefault(one => one.Id == peer) is { } other)
        {
            other.Broken(Id);
        }
    });

    public void Send(TrainerId to, Frame frame) => _run.Send(this, to, frame);

    public void Compute(int world, long step, int shard, int slices)
    {
        _run.Check(_state == _run.Reference(step), $"{Id} computes step {step} with the weights of step {step}");
        ulong[] gradient = WorldSimulation.Gradient(_state, step, shard);
        _free = (_free > _run.Now ? _free : _run.Now) + TimeSpan.FromSeconds(0.1 / Speed / _run.Shards * 8);
        _run.After((_free - _run.Now).TotalSeconds, () =>
        {
            if (IsAlive && !IsFrozen)
            {
                ulong[][] cut = [.. Enumerable.Range(0, slices).Select(slice => gradient
                    [(slice * WorldSimulation.Elements / slices)..((slice + 1) * WorldSimulation.Elements / slices)])];
                Replica.Computed(world, step, shard, cut);
            }
        });
    }

    public void Apply(long step, ImmutableArray<ulong[]> totals)
    {
        ulong before = _state;
        _state = WorldSimulation.Next(_state, step, totals.SelectMany(total => total));
        _run.HasApplied(this, step, before, _state);
    }

    public object Copy() => _state;

    public void Load(object state) => _state = (ulong)state;

    public void Restore(long step) => _run.After(0.5, () =>
    {
        if (IsAlive)
        {
            Replica.Restored(step, _run.Checkpoints[step]);
            Report();
        }
    });

    /// <summary>What the manager answered; what has changed by it is reported at once.</summary>
    public void Answered(ManagerAnswer answer)
    {
        (World? world, int promised) = (Replica.World, Replica.Promised);
        Replica.Hear(answer);
        if (Replica.World != world || Replica.Promised != promised)
        {
            Report();
        }
    }

    public void Report()
    {
        if (IsAlive && !IsFrozen)
        {
            _run.Call(this, new TrainerReport
            {
                Id = Id, Address = Id.Name, Speed = Speed, World = Replica.World?.Number ?? 0,
                Promised = Replica.Promised, HasState = Replica.HasState, Position = Replica.Position,
                IsLeaving = IsLeaving, Unreachable = [.. _unreachable],
            });
        }
    }
}

/// <summary>An activation of the manager.</summary>
internal sealed class SimulatedManager
{
    private readonly WorldSimulation _run;
    private WorldManager _manager;
    private string? _tag;
    private bool _isStoring;

    public SimulatedManager(WorldSimulation run)
    {
        _run = run;
        (WorldRecord record, _tag) = run.Read();
        _manager = New(record);
        Tick();
    }

    public bool IsAlive { get; set; } = true;

    public override string ToString() =>
        $"{(IsAlive ? "alive" : "dead")}, {(_isStoring ? "storing" : "idle")}, forming {_manager.Forming}, "
        + $"because {_manager.Reason(_run.Now)}";

    public ManagerAnswer Hear(TrainerReport report) => _manager.Hear(report, _run.Now);

    public void Commit(int world, long step, ulong state)
    {
        if (IsAlive && !_isStoring && _manager.Commit(world, step) is { } record)
        {
            _run.Check(state == _run.Reference(step), $"the checkpoint of step {step} holds its weights");
            _run.Checkpoints[step] = state;
            Store(record);
        }
    }

    private static WorldOptions Options => new()
    {
        StallAfter = TimeSpan.FromSeconds(15), BackoffMax = TimeSpan.FromSeconds(20),
    };

    private WorldManager New(WorldRecord record) => new(Options, _run.Shards, record, _run.Now);

    private void Tick()
    {
        if (!IsAlive)
        {
            return;
        }

        if (!_isStoring && _manager.IsStale)
        {
            (WorldRecord stored, _tag) = _run.Read();
            _manager = New(stored);
        }

        int asking = _manager.Asking;
        if (!_isStoring && _manager.Tick(_run.Now) is { } record)
        {
            Store(record);
        }

        if (_manager.Asking > asking)
        {
            _run.Wake();
        }

        _run.After(0.1, Tick);
    }

    private void Store(WorldRecord record)
    {
        _isStoring = true;
        _run.Store(this, record, _tag, tag =>
        {
            _isStoring = false;
            if (tag is not null)
            {
                _tag = tag;
                bool isWorld = record.World != _manager.Record.World;
                _manager.Stored(record, _run.Now);
                if (isWorld)
                {
                    _run.Wake();
                }
            }
            else
            {
                // Unknown outcome, or another manager: start again from what is stored.
                (WorldRecord stored, _tag) = _run.Read();
                _manager = New(stored);
            }
        });
    }
}

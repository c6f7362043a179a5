// A trainer process of the simulated stage, and an activation of the stage's manager.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Atelier.Training.Worlds;

namespace Atelier.Training.Tests.Worlds;

/// <summary>A simulated process that lends a device to training.</summary>
internal sealed class SimulatedTrainer : IReplicaHost<SimulatedSlice>
{
    private const double ServingPatience = 2;

    private readonly WorldSimulation _run;
    private readonly HashSet<TrainerId> _unreachable = [];
    private readonly HashSet<TrainerId> _broken = [];
    private readonly List<StateDigest> _digests = [];
    private readonly Dictionary<long, ulong> _states = [];
    private readonly Dictionary<int, PartReport> _parts = [];
    private readonly HashSet<PartTask> _tasks = [];
    private (HeldCheckpoint Checkpoint, ulong State)? _held;
    private TimeSpan _answeredAt;
    private ulong _state;
    private StepVerdict _verdict;
    private bool _rollsBack;
    private TimeSpan _free;

    public SimulatedTrainer(WorldSimulation run, TrainerId id)
    {
        (_run, Id) = (run, id);
        Speed = 0.5 + run.Random.NextDouble();
        Replica = new Replica<SimulatedSlice>(
            id, run.Shards, WorldSimulation.Merge, this, steps: long.MaxValue, totalsMax: 64);
    }

    public TrainerId Id { get; }

    public double Speed { get; }

    public Replica<SimulatedSlice> Replica { get; }

    public bool IsAlive { get; set; } = true;

    /// <summary>Whether the process hangs: it neither receives nor reports.</summary>
    public bool IsFrozen { get; set; }

    public bool IsLeaving { get; set; }

    /// <summary>Whether the trainer reports that its device draws pictures.</summary>
    public bool IsServing { get; private set; }

    /// <summary>Time until which the device draws pictures and computes no shards.</summary>
    public TimeSpan ServingUntil { get; private set; }

    /// <summary>Whether the device computes wrong gradients from time to time.</summary>
    public bool IsWrong { get; set; }

    /// <summary>Whether the device returns NaN.</summary>
    public bool GivesNaN { get; set; }

    /// <summary>Whether the device sometimes measures a batch wrongly, so that the trainer decides otherwise.</summary>
    public bool MeasuresWrong { get; set; }

    public ulong State => _state;

    /// <summary>The trainer's state after the given step; null if the trainer did not have it.</summary>
    public ulong? StateAt(long step) => _states.TryGetValue(step, out ulong state) ? state : null;

    public void Damage()
    {
        _run.Note($"{Id} has damaged weights");
        _state ^= 4;
    }

    /// <summary>Draws pictures for a while; the trainer reports it if it takes longer than about two steps.</summary>
    public void Serve(double seconds)
    {
        _run.Note($"{Id} draws pictures for {seconds:f1} s");
        ServingUntil = _run.Now + TimeSpan.FromSeconds(seconds);
        IsServing = seconds > ServingPatience;
        _run.After(seconds, () =>
        {
            if (ServingUntil <= _run.Now)
            {
                IsServing = false;
                Report();
            }
        });
    }

    public void Beat()
    {
        if (IsAlive)
        {
            Report();
            _run.After(1, Beat);
        }
    }

    /// <summary>Closes the connection to a peer that died.</summary>
    public void Broken(TrainerId peer)
    {
        if (!IsAlive || !_broken.Add(peer))
        {
            return;
        }

        _run.After(1, () => _broken.Remove(peer));
        Do(() => Replica.Disconnected(peer));
        if (Replica.World?.Has(peer) == true && _unreachable.Add(peer))
        {
            Report();
            _run.After(3, () => _unreachable.Remove(peer));
        }
    }

    /// <summary>Loses everything that is sent to a peer; the connection's heartbeats reveal it to both ends.</summary>
    public void Lost(TrainerId peer) => _run.After(1, () =>
    {
        Broken(peer);
        if (_run.Trainers.FirstOrDefault(one => one.Id == peer) is { } other)
        {
            other.Broken(Id);
        }
    });

    public void Receive(TrainerId from, Frame frame) => Do(() => Replica.Receive(from, frame));

    public void Send(TrainerId to, Frame frame) => _run.Send(this, to, frame);

    public void Compute(int world, long step, int shard, int slices)
    {
        _run.Computed[(step, shard)] = _run.Computed.GetValueOrDefault((step, shard)) + 1;
        _run.Check(
            _run.IsDoubtful || _state == _run.Reference(step),
            $"{Id} computes step {step} with the weights of step {step}");
        (ulong[] gradient, ShardClaim claim) = Computed(step, shard);
        WhenComputed(isShared: true, () =>
        {
            int At(int slice) => slice * WorldSimulation.Elements / slices;
            SimulatedSlice[] cut = [.. Enumerable.Range(0, slices).Select(slice =>
                new SimulatedSlice(gradient[At(slice)..At(slice + 1)], slice == 0 ? [claim] : []))];
            Replica.Computed(world, step, shard, cut);
        });
    }

    public void Verify(int world, long step, int shard, bool isTrial)
    {
        ShardClaim claim = Computed(step, shard).Claim;
        WhenComputed(isShared: false, () =>
        {
            Replica.Verified(world, step, claim, isTrial);
            if (isTrial)
            {
                Report();
            }
        });
    }

    public ImmutableArray<ShardClaim> Review(long step, ImmutableArray<SimulatedSlice> totals, bool all)
    {
        ImmutableArray<ShardClaim> claims = totals[0].Claims;
        bool isFinite = claims.All(claim => claim.IsFinite);
        bool isWrong = MeasuresWrong && _run.Random.Next(2) == 0;
        _verdict = isFinite != isWrong ? StepVerdict.Apply : StepVerdict.Skip;
        _rollsBack = isWrong && _run.Random.Next(3) == 0; // A rollback ends with a checkpoint, which nobody else has.
        return all ? claims : SuspectShards.Of(step, _verdict, claims, WorldSimulation.VerifyInterval);
    }

    // A checkpoint waits until the previous one is committed.
    public bool CanApply() =>
        _held is null || _held.Value.Checkpoint.Step > Replica.Position
        || (Replica.Position + 1) % _run.SaveInterval != 0;

    public void Apply(long step, ImmutableArray<SimulatedSlice> totals)
    {
        ulong before = _state;
        bool isSkipped = _verdict == StepVerdict.Skip;
        _run.Check(
            !isSkipped || _run.Faults.HasFlag(Faults.WrongMeasure) || Replica.World!.Members.Length == 1
                || totals.Length == 1,
            $"{Id} does not skip step {step} because one device gives NaN");
        _state = WorldSimulation.Next(_state, step, isSkipped ? [1] : totals.SelectMany(total => total.Values));
        _run.HasApplied(this, step, before, _state);
        _states[step + 1] = _state;
        if ((step + 1) % WorldSimulation.VerifyInterval == 0 || _rollsBack)
        {
            Audit(step + 1);
        }
    }

    public object Copy(int part, int parts) => (_state, part, parts);

    public bool LoadParts(IReadOnlyList<object> parts)
    {
        (ulong State, int Part, int Parts)[] all = [.. parts.Cast<(ulong, int, int)>()];
        _run.Check(
            all.Select(one => one.Part).SequenceEqual(Enumerable.Range(0, all[0].Parts)) && all.Length == all[0].Parts,
            $"{Id} has all parts of a copy, in order");
        if (all.DistinctBy(one => one.State).Count() > 1)
        {
            _run.Check(_run.IsDoubtful, $"{Id} got parts of different states");
            return false;
        }

        Load(all[0].State);
        return true;
    }

    public void Load(object state)
    {
        _state = (ulong)state;
        _digests.Clear();
        _states.Clear();
        Drop();
    }

    public void Restore(long step) => _run.After(0.5, () =>
    {
        if (IsAlive)
        {
            Do(() => Replica.Restored(step, _run.Checkpoints[step]));
            Report();
        }
    });

    /// <summary>Processes the manager's answer.</summary>
    public void Answered(SimulatedAnswer answer)
    {
        _answeredAt = _run.Now;
        if (_held is { } held && (held.Checkpoint.Step <= answer.SafeStep || held.Checkpoint.World <= answer.Returned))
        {
            Drop();
            Do(Replica.Continue);
        }

        foreach (PartTask task in answer.Tasks.Where(_tasks.Add))
        {
            _run.After(_run.Random.NextDouble() * 0.3, () => Store(task));
        }

        Do(() => Replica.TakeAnswer(answer.Manager));
    }

    public void Report()
    {
        if (!IsAlive || IsFrozen)
        {
            return;
        }

        if (_run.Now - _answeredAt > TimeSpan.FromSeconds(3.5))
        {
            Replica.ManagerIsSilent();
        }

        _run.Call(
            this,
            new TrainerReport
            {
                Id = Id, Address = Id.Name, Speed = Speed * _run.Shards / (0.8 * _run.Slowness),
                World = Replica.World?.Number ?? 0,
                Promised = Replica.Promised, HasState = Replica.HasState, Position = Replica.Position,
                IsLeaving = IsLeaving, IsServing = IsServing, Unreachable = [.. _unreachable],
                Dispute = Replica.Dispute, Trial = Replica.Trial,
            },
            new StateReport
            {
                Holds = _held?.Checkpoint, Parts = [.. _parts.Values], Digests = [.. _digests], Since = Replica.Since,
            });
    }

    private void Do(Action action)
    {
        if (IsAlive)
        {
            (World? world, int promised) = (Replica.World, Replica.Promised);
            action();
            if (Replica.World != world || Replica.Promised != promised)
            {
                Report();
            }
        }
    }

    private (ulong[] Gradient, ShardClaim Claim) Computed(long step, int shard)
    {
        ulong[] gradient = WorldSimulation.Gradient(_state, step, shard);
        if (IsWrong && _run.Random.Next(3) == 0)
        {
            gradient[0] ^= (ulong)_run.Random.NextInt64();
        }

        return (gradient, WorldSimulation.Claim(shard, gradient, isFinite: !GivesNaN));
    }

    // Shards of a step wait while the device draws pictures; a verification is computed between two pictures.
    private void WhenComputed(bool isShared, Action action)
    {
        double seconds = _run.Slowness * 0.1 / Speed / _run.Shards * 8;
        TimeSpan from = isShared && ServingUntil > _run.Now ? ServingUntil : _run.Now;
        _free = (_free > from ? _free : from) + TimeSpan.FromSeconds(seconds);
        _run.After((_free - _run.Now).TotalSeconds, () =>
        {
            if (!IsFrozen)
            {
                Do(action);
            }
        });
    }

    private void Audit(long step)
    {
        int world = Replica.World!.Number;
        ulong state = _state;
        _digests.Add(new StateDigest(world, step, null));
        _run.After(_run.Random.NextDouble() * 0.2, () =>
        {
            int at = _digests.FindIndex(one => one.Step == step && one.World == world && one.Digest is null);
            if (at >= 0)
            {
                _digests[at] = new StateDigest(world, step, $"{state:x}");
            }
        });
        if (_digests.Count > 8)
        {
            _digests.RemoveAt(0);
        }

        if (step % _run.SaveInterval == 0 || _rollsBack)
        {
            _held = (new HeldCheckpoint(step, true, world), state);
            _parts.Clear();
            _tasks.Clear();
        }
    }

    private void Store(PartTask task)
    {
        if (!IsAlive || _held is not { } held || held.Checkpoint.Step != task.Step)
        {
            return;
        }

        if (task.Writes && _run.Has(Faults.StoreFails) && _run.Random.Next(3) == 0)
        {
            _tasks.Remove(task);
            return;
        }

        bool isStored = task.Writes || _parts.GetValueOrDefault(task.Part) is { IsStored: true };
        _parts[task.Part] = new PartReport(
            task.Step, task.Part, new CheckpointPart($"{held.State:x}/{task.Part}", 1), isStored);
    }

    private void Drop()
    {
        _held = null;
        _parts.Clear();
        _tasks.Clear();
    }
}

/// <summary>The manager's answer to a heartbeat.</summary>
internal sealed record SimulatedAnswer(
    ManagerAnswer Manager, IReadOnlyList<PartTask> Tasks, long SafeStep, int Returned);

/// <summary>A simulated activation of the manager.</summary>
internal sealed class SimulatedManager
{
    private readonly WorldSimulation _run;
    private StageManager _manager;
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

    private static WorldOptions Options => new()
    {
        StallAfter = TimeSpan.FromSeconds(15), BackoffMax = TimeSpan.FromSeconds(20),
    };

    public override string ToString() =>
        $"{(IsAlive ? "alive" : "dead")}, {(_isStoring ? "storing" : "idle")}, asking {_manager.Asking}, "
        + $"because {_manager.Reason(_run.Now)}";

    /// <inheritdoc cref="StageManager.Asking"/>
    public int Asking => _manager.Asking;

    public SimulatedAnswer Receive(TrainerReport report, StateReport state)
    {
        (ManagerAnswer answer, IReadOnlyList<PartTask> tasks) = _manager.Receive(report, state, _run.Now);
        return new SimulatedAnswer(answer, tasks, _manager.Record.SafeStep, _manager.Record.Returned);
    }

    private StageManager New(WorldRecord record) =>
        new(Options, _run.Shards, ["weights"], WorldSimulation.Parts, record, _run.Now);

    private void Tick()
    {
        if (!IsAlive)
        {
            return;
        }

        if (!_isStoring && _manager.IsStale)
        {
            Restart();
        }

        int asking = _manager.Asking;
        if (!_isStoring && _manager.Tick(_run.Now) is { } change)
        {
            Store(change);
        }

        if (_manager.Asking > asking)
        {
            _run.Wake();
        }

        _run.After(0.1, Tick);
    }

    private void Store(StageChange change)
    {
        _isStoring = true;
        _run.Store(this, change, _tag, tag =>
        {
            _isStoring = false;
            if (tag is null || change.Pauses)
            {
                Restart(); // Unknown outcome, another manager, or a pause: restart from the stored state.
                return;
            }

            _tag = tag;
            bool isWorld = change.World.World != _manager.Record.World;
            _manager.Stored(change, _run.Now);
            if (isWorld)
            {
                _run.Wake();
            }
        });
    }

    private void Restart()
    {
        (WorldRecord stored, _tag) = _run.Read();
        _manager = New(stored);
    }
}

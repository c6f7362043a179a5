// A trainer of the simulated stage: the real replica, with a device and a network that only take time.
using System.Collections.Immutable;
using Atelier.Training.Worlds;

namespace Atelier.Cli.Bench.Goodput;

/// <summary>A sum of gradients, of which only the size counts.</summary>
internal sealed class WeightlessSum
{
    public static readonly WeightlessSum Instance = new();

    public static WeightlessSum Merge(WeightlessSum left, WeightlessSum right) => left;
}

/// <summary>A trainer in simulated time. It follows the rules of a trainer's session in the cluster.</summary>
internal sealed class GoodputTrainer : IReplicaHost<WeightlessSum>
{
    // Bytes of a message without numbers.
    private const double SmallBytes = 200;

    private readonly GoodputSimulation _run;
    private readonly Queue<(int World, long Step, int Shard, int Slices)> _shards = [];
    private readonly List<(TrainerId To, Frame Frame)> _outgoing = [];
    private readonly Dictionary<TrainerId, double> _lastArrival = [];
    private double _sentAt, _receivedAt;
    private bool _isComputing;
    private double? _speed;

    public GoodputTrainer(GoodputSimulation run, TrainerId id)
    {
        (_run, Id) = (run, id);
        Replica = new Replica<WeightlessSum>(
            id, run.Settings.Shards, WeightlessSum.Merge, this, steps: long.MaxValue, totalsMax: 64);
    }

    public TrainerId Id { get; }

    public Replica<WeightlessSum> Replica { get; }

    public bool IsGone { get; set; }

    public bool IsLeaving { get; private set; }

    public void Beat()
    {
        if (!IsGone)
        {
            Report();
            _run.After(IsLeaving ? 0.2 : 1, Beat);
        }
    }

    /// <summary>The trainer's node will be taken.</summary>
    public void Leave()
    {
        IsLeaving = true;
        Report();
    }

    public void Report()
    {
        if (IsGone)
        {
            return;
        }

        _run.Report(this, new TrainerReport
        {
            Id = Id, Address = Id.Name, Speed = _speed ?? 1, IsMeasured = _speed is not null,
            World = Replica.World?.Number ?? 0,
            Promised = Replica.Promised, HasState = Replica.HasState, Position = Replica.Position,
            IsLeaving = IsLeaving,
        });
    }

    public void Answered(ManagerAnswer answer)
    {
        Do(() => Replica.TakeAnswer(answer));
        if (IsLeaving && !Replica.IsMember && answer.World is null)
        {
            IsGone = true;
        }
    }

    public void Receive(TrainerId from, Frame frame) => Do(() => Replica.Receive(from, frame));

    public void Send(TrainerId to, Frame frame) => _outgoing.Add((to, frame));

    public void Compute(int world, long step, int shard, int slices)
    {
        _shards.Enqueue((world, step, shard, slices));
        ComputeNext();
    }

    public void Verify(int world, long step, int shard, bool isTrial) =>
        throw new NotSupportedException("Nothing is verified here.");

    public ImmutableArray<ShardClaim> Review(long step, ImmutableArray<WeightlessSum> totals, bool all) => [];

    public bool CanApply() => true;

    public void Apply(long step, ImmutableArray<WeightlessSum> totals) => _run.Applied(step + 1);

    public object Copy(int part, int parts) => this;

    public bool LoadParts(IReadOnlyList<object> parts) => true;

    public void Load(object state)
    {
    }

    public void Restore(long step) => _run.After(0.5, () =>
    {
        Do(() => Replica.Restored(step, this));
        Report();
    });

    private void Do(Action action)
    {
        if (IsGone)
        {
            return;
        }

        (int? world, int promised, bool hadState) = (Replica.World?.Number, Replica.Promised, Replica.HasState);
        action();
        Flush();
        if (Replica.World?.Number != world || Replica.Promised != promised || (Replica.HasState && !hadState))
        {
            Report();
        }
    }

    // A shard that has begun is computed to its end, even if its world is over.
    private void ComputeNext()
    {
        while (!_isComputing && _shards.TryDequeue(out (int World, long Step, int Shard, int Slices) task))
        {
            if (task.World < Replica.World?.Number)
            {
                continue;
            }

            _isComputing = true;
            _run.After(_run.ShardSeconds, () =>
            {
                _isComputing = false;
                double speed = 1 / _run.ShardSeconds;
                _speed = _speed is { } before ? (0.8 * before) + (0.2 * speed) : speed;
                Do(() => Replica.Computed(
                    task.World, task.Step, task.Shard,
                    [.. Enumerable.Repeat(WeightlessSum.Instance, task.Slices)]));
                ComputeNext();
            });
        }
    }

    // Connections share the network evenly. Each trainer begins with the peer after itself, so that the slices of all
    // trainers reach all peers evenly. Receiving is a limit only for copies of states, because everybody sends as many
    // gradients as he receives.
    private void Flush()
    {
        if (_outgoing.Count > 1 && Replica.World is { } world)
        {
            int self = Math.Max(0, world.IndexOf(Id));
            int after = _outgoing.FindIndex(one => world.IndexOf(one.To) > self);
            _outgoing.AddRange(_outgoing[..Math.Max(0, after)]);
            _outgoing.RemoveRange(0, Math.Max(0, after));
        }

        foreach ((TrainerId to, Frame frame) in _outgoing)
        {
            GoodputSettings settings = _run.Settings;
            double at = _run.Now;
            double seconds = frame switch
            {
                PartialFrame<WeightlessSum> or TotalFrame<WeightlessSum> =>
                    settings.GradientBytes / Replica.World!.Members.Length,
                StateFrame { State: not null } state => settings.StateBytes / state.Parts,
                _ => SmallBytes,
            } / settings.Bandwidth;
            if (frame is PartialFrame<WeightlessSum> or TotalFrame<WeightlessSum> or StateFrame { State: not null })
            {
                at = _sentAt = Math.Max(_sentAt, at) + seconds;
            }

            if (frame is StateFrame { State: not null } && _run.Find(to) is { } receiver)
            {
                at = receiver._receivedAt = Math.Max(receiver._receivedAt + seconds, at);
            }

            _lastArrival[to] = at = Math.Max(at + GoodputSimulation.Latency, _lastArrival.GetValueOrDefault(to));
            _run.At(at, () => _run.Find(to)?.Receive(Id, frame));
        }

        _outgoing.Clear();
    }
}

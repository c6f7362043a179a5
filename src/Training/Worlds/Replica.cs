// One trainer of a stage, as a pure protocol without I/O: what it sends, computes and applies, and when. It drives a
// host that owns the device, the connections and the weights.
//
// Invariants:
//   A step is applied only once the totals of all of its slices have arrived, and a second trainer has computed the
//   same result for each shard that the step's review names.
//   Members differ by at most one step: a member sends nodes of step s only after it has applied step s - 1.
//   A member keeps the totals of the last step that it applied, so that a member that lacks them can catch up.
//   After a promise, the trainer sends and applies nothing that belongs to an older world.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>A trainer of a stage, without its device and its connections.</summary>
/// <typeparam name="T">Type of a slice's values.</typeparam>
/// <param name="id">Id of the trainer.</param>
/// <param name="shards">Number of shards of a batch, V.</param>
/// <param name="merge">Adds the left and the right half of a subtree.</param>
/// <param name="host">The process around the replica.</param>
/// <param name="steps">Number of steps of the stage; nothing is computed after the last step.</param>
/// <param name="totalsMax">
/// Maximum number of steps whose totals a spectator keeps while it copies the state; if there are more, it starts over.
/// </param>
public sealed partial class Replica<T>(
    TrainerId id, int shards, Func<T, T, T> merge, IReplicaHost<T> host, long steps, int totalsMax)
    where T : class
{
    // Maximum number of frames kept for worlds that the manager has announced to others, but not yet to this trainer.
    private const int EarlyMax = 1 << 16;

    private readonly List<(TrainerId From, Frame Frame)> _early = [];
    private readonly TotalsBuffer<T> _totals = new(totalsMax);
    private readonly Dictionary<TrainerId, long> _followers = [];
    private readonly List<(TrainerId From, CopyFrame Ask)> _copies = [];
    private readonly Dictionary<int, long> _followed = [];
    private World? _world;
    private int _self = -1;
    private StepExchange<T>? _current;
    private StepExchange<T>? _next;
    private (long Step, ImmutableArray<T> Totals)? _last;
    private long? _copyOf;
    private object?[] _parts = [];
    private long? _restoring;
    private bool _isFollowing;

    /// <summary>Id of the trainer.</summary>
    public TrainerId Id => id;

    /// <summary>The latest world that the trainer knows; null before the first one.</summary>
    public World? World => _world;

    /// <summary>Number of steps that the trainer's weights include.</summary>
    public long Position { get; private set; }

    /// <summary>
    /// Number of steps that the weights included when they were loaded; the trainer has applied all later steps itself.
    /// </summary>
    public long Since { get; private set; } = long.MaxValue;

    /// <summary>Whether the trainer has weights of the stage.</summary>
    public bool HasState { get; private set; }

    /// <summary>Whether the trainer is a member of the world, and so computes shards.</summary>
    public bool IsMember => _self >= 0;

    /// <summary>Processes the manager's answer to a heartbeat.</summary>
    public void TakeAnswer(ManagerAnswer answer)
    {
        if (answer.World is { } world && world.Number > (_world?.Number ?? 0)
            && (!world.Has(id) || world.Number >= _promised))
        {
            Adopt(world);
        }

        TakePromise(answer);

        if (answer.Restore is { } step && answer.LastWorld == (_world?.Number ?? 0) && (!IsMember || !HasState)
            && _restoring != step && !(HasState && Position == step))
        {
            Forget();
            (_restoring, _isFollowing) = (step, false);
            host.Restore(step);
        }
        else if (answer.Restore is null && answer.LastWorld == (_world?.Number ?? 0) && !IsMember && !_isFollowing
            && _world is not null)
        {
            // Members still have the weights; only their reports had not arrived.
            _isFollowing = true;
            StartOver();
        }

        if (answer.Trial is { } trial)
        {
            BeginTrial(trial);
        }
    }

    /// <summary>Processes a checkpoint that was read. It is loaded if the replica still needs it.</summary>
    /// <param name="step">Step of the checkpoint.</param>
    /// <param name="state">The state, which is passed to <see cref="IReplicaHost{T}.Load"/>.</param>
    public void Restored(long step, object state)
    {
        if (_restoring == step)
        {
            host.Load(state);
            (_restoring, Position, Since, HasState) = (null, step, step, true);
        }
    }

    /// <summary>Notifies the replica that the host can now apply a step that it could not apply before.</summary>
    public void Continue() => Advance();

    /// <summary>Processes a frame from a peer.</summary>
    public void Receive(TrainerId from, Frame frame)
    {
        int number = _world?.Number ?? 0;
        if (frame.World > number)
        {
            if (_early.Count < EarlyMax)
            {
                _early.Add((from, frame));
            }
        }
        else if (frame.World == number && !IsFrozen)
        {
            Take(from, frame);
        }
    }

    /// <summary>Processes the result of a shard that <see cref="IReplicaHost{T}.Compute"/> requested.</summary>
    /// <param name="world">Number of the world, as it was passed to the host.</param>
    /// <param name="step">The step.</param>
    /// <param name="shard">The shard.</param>
    /// <param name="slices">The shard's sums, slice by slice.</param>
    public void Computed(int world, long step, int shard, IReadOnlyList<T> slices)
    {
        if (world != _world?.Number || IsFrozen || !IsMember || step != Position || _current is null)
        {
            return;
        }

        foreach ((int slice, TreeNode node, T value) in _current.AddShard(shard, slices))
        {
            if (slice == _self)
            {
                AddPartial(_current, Position, node, value);
            }
            else
            {
                host.Send(_world.Members[slice].Id, new PartialFrame<T>(world, step, slice, node, value));
            }
        }

        Advance();
    }

    /// <inheritdoc/>
    public override string ToString() =>
        $"world {_world?.Number ?? 0}, {(IsMember ? "member" : "spectator")}, promised {_promised}, "
        + (HasState ? $"position {Position}" : $"no weights, copy of {_copyOf}, restoring {_restoring}")
        + $", totals of {_totals.Count} steps, followed {_followed.Count}"
        + (_review is null ? "" : $", {_review.Suspects.Length} shards of step {Position} to be verified")
        + (Dispute is null ? "" : $", {Dispute}");

    private void Take(TrainerId from, Frame frame)
    {
        switch (frame)
        {
            case PartialFrame<T> part when IsMember && part.Slice == _self && HasState:
                if (ExchangeOf(part.Step) is { } exchange && _world!.IndexOf(from) is >= 0 and var index
                    && _world.Members[index].Shards.Nodes().Contains(part.Node))
                {
                    AddPartial(exchange, part.Step, part.Node, part.Value);
                    Advance();
                }

                break;
            case TotalFrame<T> total:
                if (IsMember && HasState && total.Step >= _world!.FirstStep && ExchangeOf(total.Step) is { } sums)
                {
                    sums.AddTotal(total.Slice, total.Value);
                }
                else if ((total.Step >= Position || !HasState) && !_totals.Add(total))
                {
                    StartOver(); // The buffer is full, because copying the state takes too long.
                }

                Advance();
                break;
            case VerifyFrame ask when IsMember && HasState && VerifierOf(ask.Claim.Shard) == _self:
                Take(from, ask);
                break;
            case VerifiedFrame verified:
                Take(from, verified);
                break;
            case CatchUpFrame ask when _last is { } last && last.Step == ask.Step:
                for (int slice = 0; slice < last.Totals.Length; slice++)
                {
                    host.Send(from, new TotalFrame<T>(
                        _world!.Number, last.Step, slice, last.Totals.Length, last.Totals[slice]));
                }

                break;
            case FollowFrame when IsMember && HasState:
                long first = Math.Max(_world!.FirstStep, _current?.OwnTotal is not null ? Position + 1 : Position);
                _followers[from] = first;
                host.Send(from, new FollowedFrame(_world.Number, _self, first));
                break;
            case FollowedFrame followed when !IsMember:
                _followed[followed.Slice] = followed.FromStep;
                if (_followed.Count == _world!.Members.Length)
                {
                    BeginCopy();
                }

                break;
            case CopyFrame ask when IsMember && HasState:
                _copies.Add((from, ask));
                ServeCopies();
                break;
            case StateFrame state when !IsMember && !HasState && state.Step == _copyOf:
                Take(state);
                break;
        }
    }

    private void Adopt(World world)
    {
        bool wasMember = IsMember;
        World? before = _world;
        bool wasOf = before is not null && world.Number > before.Number;
        (_world, _self) = (world, world.IndexOf(id));

        // A trainer that was removed need not keep its promise, because its weights are discarded.
        _promised = IsMember ? Math.Max(_promised, world.Number) : Math.Min(_promised, world.Number);
        (_current, _next, _copyOf, _restoring, _promise) = (null, null, null, null, null);
        _followers.Clear();
        _followed.Clear();
        _copies.Clear();
        ForgetReview();
        _isFollowing = !IsMember;
        if (!IsMember)
        {
            // A removed member starts over as a newcomer, and so does every member of a world that was ended for all.
            // The steps from the new world's first one on are computed again, and may give other numbers if a member
            // was wrong.
            if ((wasMember && wasOf) || world.Members.IsEmpty || (HasState && Position > world.FirstStep))
            {
                Forget();
            }

            _totals.DropFrom(world.FirstStep);

            foreach (WorldMember member in world.Members)
            {
                host.Send(member.Id, new FollowFrame(world.Number));
            }
        }
        else if (!HasState || (Position != world.FirstStep && Position != world.FirstStep - 1))
        {
            Forget();
        }
        else if (Position == world.FirstStep)
        {
            BeginStep();
        }
        else
        {
            Advance(); // A newcomer may have the totals of the step that it lacks.
            if (Position < world.FirstStep && _review is null)
            {
                CatchUp(world, before);
            }
        }

        (TrainerId From, Frame Frame)[] early = [.. _early.Where(one => one.Frame.World >= world.Number)];
        _early.Clear();
        foreach ((TrainerId from, Frame frame) in early)
        {
            Receive(from, frame);
        }
    }

    private void BeginStep()
    {
        if (Position >= steps || IsFrozen)
        {
            return;
        }

        _current ??= _next ?? Begin();
        _next = null;
        if (_current.OwnTotal is { } total)
        {
            SendTotal(total);
        }

        ShardRun run = _world!.Members[_self].Shards;
        for (int shard = run.First; shard < run.End; shard++)
        {
            host.Compute(_world.Number, Position, shard, _world.Members.Length);
        }
    }

    private StepExchange<T> Begin() => new(_world!, _self, shards, merge);

    // A peer may be one step ahead.
    private StepExchange<T>? ExchangeOf(long step) =>
        step == Position ? _current : step == Position + 1 ? _next ??= Begin() : null;

    private void AddPartial(StepExchange<T> exchange, long step, TreeNode node, T value)
    {
        // The others must not get further ahead than a step, so a total of the next step is sent when it begins.
        if (exchange.AddPartial(node, value) is { } total && step == Position)
        {
            SendTotal(total);
        }
    }

    private void SendTotal(T total) =>
        SendToAll(Position, new TotalFrame<T>(_world!.Number, Position, _self, _world.Members.Length, total));

    private void SendToAll(long step, Frame frame)
    {
        foreach (WorldMember member in _world!.Members.Where(member => member.Id != id))
        {
            host.Send(member.Id, frame);
        }

        foreach ((TrainerId follower, long first) in _followers)
        {
            if (step >= first)
            {
                host.Send(follower, frame);
            }
        }
    }

    // Applies all steps whose totals have arrived and are verified.
    private void Advance()
    {
        while (!IsFrozen && HasState)
        {
            if (_review is null)
            {
                if (TakeTotals() is not { } totals)
                {
                    return;
                }

                _review = BeginReview(totals);
            }

            if (!IsVerified(_review) || !host.CanApply())
            {
                return;
            }

            Apply(_review.Totals);
            if (_current is not null)
            {
                _current = null;
                BeginStep();
            }
            else if (IsMember && Position == _world!.FirstStep)
            {
                _totals.Clear();
                BeginStep();
            }
        }
    }

    // A spectator applies a step once a total of the next step shows that a member has applied it: a trainer that is
    // ahead of all members could not join them.
    private ImmutableArray<T>? TakeTotals() =>
        _current is not null ? (_current.IsComplete ? _current.Totals : null)
        : IsMember || _totals.Last > Position ? _totals.Take(Position) : null;

    private void Apply(ImmutableArray<T> totals)
    {
        host.Apply(Position, totals);
        ForgetReviewOf(Position);
        _last = (Position, totals);
        Position++;
        PromiseIfDue();
        if (!IsFrozen)
        {
            ServeCopies();
        }
    }
}

// The copy of the state that a trainer keeps until the copy is committed as a checkpoint. In the background, the
// trainer stores its share of the copy's parts, computes digests to confirm parts that others store, and computes
// digests of whole states for comparison. Training continues meanwhile.
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Threading.Channels;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Training;

/// <summary>Keeps a copy of the state until it is committed. Thread-safe.</summary>
/// <param name="blobs">Stores the parts.</param>
/// <param name="metadata">Metadata of the parts.</param>
/// <param name="logger">Logs parts that could not be stored.</param>
internal sealed class CheckpointKeeper(
    CheckpointBlobs blobs, IReadOnlyDictionary<string, string> metadata, ILogger logger)
{
    // Number of digests that are reported. Older states have been compared already, or never will be.
    private const int DigestsKept = 8;

    private readonly Lock _lock = new();
    private readonly Channel<Func<CancellationToken, Task>> _work =
        Channel.CreateUnbounded<Func<CancellationToken, Task>>();
    private readonly Dictionary<int, PartReport> _done = [];
    private readonly HashSet<PartTask> _queued = [];
    private readonly List<StateDigest> _digests = [];
    private (HeldCheckpoint Checkpoint, TrainingState State)? _held;
    private string? _storeFault;
    private bool _isAuditing;

    /// <summary>The trainer's report about its copy and its digests.</summary>
    public StateReport Report
    {
        get
        {
            lock (_lock)
            {
                return new StateReport
                {
                    Holds = _held?.Checkpoint, Parts = [.. _done.Values], Digests = [.. _digests],
                    StoreFault = _storeFault,
                };
            }
        }
    }

    /// <summary>Keeps a copy, which replaces an earlier one.</summary>
    /// <param name="state">The copy; it must not change.</param>
    /// <param name="isPlanned">Whether a rollback may return to the copy.</param>
    /// <param name="world">Number of the world in which the copy's last step was summed.</param>
    /// <param name="undoneFrom">The step to which the run rolled back in the last step; null if it did not.</param>
    public void Hold(TrainingState state, bool isPlanned, int world, long? undoneFrom = null)
    {
        lock (_lock)
        {
            Hold((new HeldCheckpoint(state.Position.Step, isPlanned, world) { UndoneFrom = undoneFrom }, state));
        }

        Audit(state, world);
    }

    /// <summary>Computes the digest of a state in the background, for comparison with those of other members.</summary>
    /// <param name="state">The state; it must not change.</param>
    /// <param name="world">Number of the world in which the state's last step was summed.</param>
    public void Audit(TrainingState state, int world)
    {
        var begun = new StateDigest(world, state.Position.Step, null);
        lock (_lock)
        {
            // Each audit refers to a whole copy of the state. The held copy's digest is needed until it is committed.
            bool isHeld = _held?.Checkpoint.Step == begun.Step;
            if (_isAuditing && !isHeld)
            {
                return;
            }

            _isAuditing = true;
            _digests.Add(begun);
            if (_digests.FindIndex(one => one.Step != _held?.Checkpoint.Step) is >= 0 and var oldest
                && _digests.Count > DigestsKept)
            {
                _digests.RemoveAt(oldest);
            }
        }

        _work.Writer.TryWrite(_ =>
        {
            StateDigest done = begun with { Digest = state.AuditDigest() };
            lock (_lock)
            {
                _isAuditing = false;
                int at = _digests.IndexOf(begun);
                if (at >= 0)
                {
                    _digests[at] = done;
                }
            }

            return Task.CompletedTask;
        });
    }

    /// <summary>Drops the copy if it is no longer needed, because it is committed or discarded.</summary>
    /// <param name="safeStep">Number of steps that the last committed checkpoint includes.</param>
    /// <param name="returned">A copy from a world up to this number is discarded.</param>
    /// <returns>Whether a copy was dropped.</returns>
    public bool Drop(long safeStep, int returned)
    {
        lock (_lock)
        {
            if (_held is not { } held || (held.Checkpoint.Step > safeStep && held.Checkpoint.World > returned))
            {
                return false;
            }

            Hold(null);
            return true;
        }
    }

    /// <summary>Forgets the copy and the digests, because the trainer's state was replaced.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            Hold(null);
            _digests.Clear();
        }
    }

    /// <summary>
    /// Whether a copy of an earlier step is kept, which must be committed before one of the given step.
    /// </summary>
    public bool IsBusy(long step)
    {
        lock (_lock)
        {
            return _held is { } held && held.Checkpoint.Step < step;
        }
    }

    /// <summary>The copy of the state after the given step; null if it is not kept.</summary>
    public TrainingState? Find(long step)
    {
        lock (_lock)
        {
            return _held is { } held && held.Checkpoint.Step == step ? held.State : null;
        }
    }

    /// <summary>Queues tasks for the checkpoint. Tasks that are queued already are ignored.</summary>
    public void Add(IEnumerable<PartTask> tasks)
    {
        lock (_lock)
        {
            foreach (PartTask task in tasks.Where(task => _queued.Add(task)))
            {
                _work.Writer.TryWrite(cancellation => DoAsync(task, cancellation));
            }
        }
    }

    /// <summary>Runs the queued work, one piece at a time.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        await foreach (Func<CancellationToken, Task> work in _work.Reader.ReadAllAsync(cancellation))
        {
            await work(cancellation);
        }
    }

    private void Hold((HeldCheckpoint Checkpoint, TrainingState State)? held)
    {
        (_held, _storeFault) = (held, null);
        _done.Clear();
        _queued.Clear();
    }

    private async Task DoAsync(PartTask task, CancellationToken cancellation)
    {
        if (Find(task.Step) is not { } state)
        {
            return;
        }

        byte[] bytes = CheckpointFile.Write(state, task.Part, metadata);
        var part = new CheckpointPart(Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length);
        try
        {
            if (task.Writes)
            {
                await blobs.PutAsync(part, bytes, cancellation);
            }
        }
        catch (IOException error)
        {
            logger.CheckpointNotStored(task.Part, task.Step, error.Message);
            lock (_lock)
            {
                // The manager will assign the task again, to another holder if there is one.
                _queued.Remove(task);
                _storeFault = ReferenceEquals(_held?.State, state) ? error.Message : _storeFault;
            }

            return;
        }

        lock (_lock)
        {
            if (ReferenceEquals(_held?.State, state))
            {
                _storeFault = task.Writes ? null : _storeFault;
                bool isStored = task.Writes || _done.GetValueOrDefault(task.Part) is { IsStored: true };
                _done[task.Part] = new PartReport(task.Step, task.Part, part, isStored);
            }
        }
    }
}

// The copy of the state that a trainer keeps until it is committed as a checkpoint, and the trainer's share of the
// work: parts that it stores and parts whose digests it confirms. Training continues meanwhile.
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Threading.Channels;
using Atelier.Training.Checkpoints;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Training;

/// <summary>Keeps a copy of the state until it is committed. All members may be used from any thread.</summary>
/// <param name="blobs">Where parts are stored.</param>
/// <param name="metadata">Metadata of the parts.</param>
/// <param name="logger">Logs what could not be stored.</param>
internal sealed class CheckpointKeeper(
    CheckpointBlobs blobs, IReadOnlyDictionary<string, string> metadata, ILogger logger)
{
    private readonly Lock _lock = new();
    private readonly Channel<PartTask> _tasks = Channel.CreateUnbounded<PartTask>();
    private readonly Dictionary<int, PartReport> _done = [];
    private readonly HashSet<PartTask> _queued = [];
    private (TrainingState State, bool IsPlanned)? _held;
    private TaskCompletionSource? _committed;

    /// <summary>The checkpoint whose copy it keeps; null if none.</summary>
    public HeldCheckpoint? Holds
    {
        get
        {
            lock (_lock)
            {
                return _held is { } held ? new HeldCheckpoint(held.State.Position.Step, held.IsPlanned) : null;
            }
        }
    }

    /// <summary>What it has done for that checkpoint.</summary>
    public ImmutableArray<PartReport> Parts
    {
        get
        {
            lock (_lock)
            {
                return [.. _done.Values];
            }
        }
    }

    /// <summary>Keeps a copy; waits while an earlier one is not committed.</summary>
    /// <param name="state">The copy; it must not change.</param>
    /// <param name="isPlanned">Whether a rollback may return to it.</param>
    /// <param name="cancellation">Cancels the wait.</param>
    public async Task HoldAsync(TrainingState state, bool isPlanned, CancellationToken cancellation)
    {
        while (true)
        {
            Task committed;
            lock (_lock)
            {
                // A state that was restored from before the copy reaches its step again.
                if (_held is not { } held || held.State.Position.Step >= state.Position.Step)
                {
                    _held = (state, isPlanned);
                    _done.Clear();
                    _queued.Clear();
                    return;
                }

                _committed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                committed = _committed.Task;
            }

            await committed.WaitAsync(cancellation);
        }
    }

    /// <summary>Drops the copy if its checkpoint is committed.</summary>
    /// <param name="safeStep">Steps in the last committed checkpoint.</param>
    public void Committed(long safeStep)
    {
        lock (_lock)
        {
            if (_held is { } held && held.State.Position.Step <= safeStep)
            {
                _held = null;
                _done.Clear();
                _queued.Clear();
                _committed?.SetResult();
                _committed = null;
            }
        }
    }

    /// <summary>The copy of a step; null if it is not kept.</summary>
    public TrainingState? Find(long step)
    {
        lock (_lock)
        {
            return _held is { } held && held.State.Position.Step == step ? held.State : null;
        }
    }

    /// <summary>Takes on work for the checkpoint; what it does already is ignored.</summary>
    public void Add(IEnumerable<PartTask> tasks)
    {
        lock (_lock)
        {
            foreach (PartTask task in tasks.Where(task => _queued.Add(task)))
            {
                _tasks.Writer.TryWrite(task);
            }
        }
    }

    /// <summary>Does the work, part by part.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        await foreach (PartTask task in _tasks.Reader.ReadAllAsync(cancellation))
        {
            try
            {
                await DoAsync(task, cancellation);
            }
            catch (IOException error)
            {
                logger.CheckpointNotStored(task.Part, task.Step, error.Message);
                lock (_lock)
                {
                    _queued.Remove(task); // The manager asks for it again.
                }
            }
        }
    }

    private async Task DoAsync(PartTask task, CancellationToken cancellation)
    {
        if (Find(task.Step) is not { } state)
        {
            return;
        }

        byte[] bytes = CheckpointFile.Write(state, task.Part, metadata);
        var part = new CheckpointPart(Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length);
        if (task.Writes)
        {
            await blobs.PutAsync(part, bytes, cancellation);
        }

        lock (_lock)
        {
            if (ReferenceEquals(_held?.State, state))
            {
                bool isStored = task.Writes || _done.GetValueOrDefault(task.Part) is { IsStored: true };
                _done[task.Part] = new PartReport(task.Step, task.Part, part, isStored);
            }
        }
    }
}

// The stored state of a generation's grain: a command is decided, the new state is stored, and then the consequences of
// the change are carried out. During a network partition there may be two activations; the store's ETag decides which
// of them may write.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Generations;

internal sealed partial class GenerationGrain
{
    public async Task<bool> MayNeedAsync(BlobName blob)
    {
        if (!_state.MayNeed(blob))
        {
            // Another activation may have written during a network partition.
            await ReloadAsync();
        }

        return _state.MayNeed(blob);
    }

    // Another process, whose clock may differ, may have written the state, so every wait starts now.
    private GenerationState FromStore(GenerationState read) =>
        read.IsOpen ? read with { WaitingSince = clock.GetUtcNow() } : read;

    // Re-reads the store before it refuses: during a network partition there may be two activations.
    private async Task<Outcome<T>> DecideAsync<T>(Func<Outcome<T>> command)
    {
        Outcome<T> outcome = command();
        if (!outcome.IsRefusal)
        {
            return outcome;
        }

        await ReloadAsync();
        return command();
    }

    private async Task ReloadAsync()
    {
        var held = new TaggedState(_state, stored.Etag);
        await stored.ReadStateAsync();
        TaggedState now = held.After(new TaggedState(stored.State, stored.Etag));
        if (!ReferenceEquals(now.State, _state))
        {
            long epoch = _state.Epoch;
            _state = FromStore(now.State);
            Log(log => log.StateReplaced(_key, epoch, _state.Epoch));
            NotifyWatchers();
        }
    }

    // Without this, callers that only read or watch would never see what another activation wrote during a network
    // partition.
    private Task ReloadPeriodicallyAsync(CancellationToken cancellation) =>
        _state.Closure == GenerationClosure.None && !_state.Phase.IsEnded()
            ? GrainCalls.TryAsync(ReloadAsync)
            : Task.CompletedTask;

    private async Task<T> ApplyAsync<T>(Outcome<T> outcome)
    {
        if (outcome.Store)
        {
            await StoreAsync(outcome.State);
        }

        bool ends = _state.IsOpen && !outcome.State.IsOpen;
        if (ends && outcome.State.Phase == GenerationPhase.Failed)
        {
            Log(log => log.Failed(_key, outcome.State.Error, outcome.State.Message));
        }

        bool isChanged = outcome.State != _state;
        GenerationState before = _state;
        _state = outcome.State;
        Measure(before);
        if (isChanged)
        {
            NotifyWatchers();
        }

        if (ends)
        {
            // The generation stays in the open set, where walks find it, until its charge is settled with the tenant
            // and its blobs are released.
            bool isSettled = await GrainCalls.TryAsync(() => SettleAsync(_state.Computed));
            if (await ReleaseAsync(_state.ToRelease) && isSettled)
            {
                await GrainCalls.TryAsync(() => OpenSet().RemoveAsync(_key));
            }
        }

        return outcome.Answer;
    }

    // Counts the effects of a change, and records the duration of a phase that it ended.
    private void Measure(GenerationState before)
    {
        if (before.IsOpen && before.Phase != _state.Phase)
        {
            instruments.PhaseEnded(before.Phase, _phaseAt is { } at ? clock.GetElapsedTime(at) : null);
        }

        if (_state.SnapshotStep > before.SnapshotStep)
        {
            instruments.SnapshotStored();
        }

        if (before.IsOpen && !_state.IsOpen)
        {
            instruments.Ended(_state);
        }
        else if (!before.IsOpen && _state.IsOpen)
        {
            instruments.Accepted();
        }

        if (_state.IsOpen && (!before.IsOpen || before.Phase != _state.Phase))
        {
            _phaseAt = clock.GetTimestamp();
        }
    }

    private Task StoreAsync(GenerationState state)
    {
        stored.State = state;
        return stored.WriteOrDeactivateAsync(this);
    }

    // Releases blobs that a stored state no longer needs. Returns false if some are left; these stay in the state's
    // lists.
    private async Task<bool> ReleaseAsync(BlobName[] names)
    {
        var done = new List<BlobName>();
        var owner = BlobOwner.Of(_key.Id);
        foreach (BlobName name in names)
        {
            // If the store does not answer, the rest is not attempted.
            if (!await GrainCalls.TryAsync(() => blobs.ReleaseAsync(name, owner, CancellationToken.None)))
            {
                Log(log => log.BlobsUnreleased(_key, names.Length - done.Count));
                break;
            }

            done.Add(name);
        }

        if (done.Count > 0)
        {
            _state = _state with
            {
                ToRelease = [.. _state.ToRelease.Except(done)],
                Late = [.. _state.Late.Except(done)],
            };
        }

        return done.Count == names.Length;
    }

    // If blobs cannot be released now, their release is retried at the next claim or end, or in a walk through the open
    // set.
    private async Task ReleaseOrRememberAsync()
    {
        if (await ReleaseAsync(_state.ToRelease) || _state.IsOpen)
        {
            return;
        }

        if (_state.ToRelease.Except(stored.State.ToRelease).Any())
        {
            await StoreAsync(_state);
        }

        await GrainCalls.TryAsync(() => OpenSet().AddAsync(_key));
    }

    // Writes an event of the log as part of the generation's trace.
    private void Log(Action<ILogger> write)
    {
        using Activity? trace = GenerationActivities.Join(_state.TraceParent);
        write(logger);
    }

    private void NotifyWatchers()
    {
        TaskCompletionSource changed = _changed;
        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        changed.SetResult();
    }
}

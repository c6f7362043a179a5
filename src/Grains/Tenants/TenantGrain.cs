// Tenants as grains, where keys, limits and weights are decided for all gateways.
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Placement;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Tenants;

/// <summary>A tenant: checks its keys, enforces its limits and holds its weight.</summary>
[GrainType("tenant")]
[ControlSilo]
internal sealed class TenantGrain(
    [PersistentState("tenant")] IPersistentState<TenantState> state, IOptions<OpenSetOptions> options,
    OpenSetMap openSets, TimeProvider clock, IGrainFactory grains, IStateMeter meter, LogLimits limits,
    TenantInstruments instruments, ILogger<TenantGrain> logger) : Grain, ITenantGrain
{
    private const int LabelLengthMax = 100;

    // Maximum number of concurrent calls.
    private const int Fan = 64;

    // Number of sessions in each partition of the list; null if not known.
    private readonly int?[] _sessions = new int?[ISessionListGrain.Parts];
    private TenantLimits _limits = null!;
    private int _measuredOpen;
    private bool _isCounted;
    private bool _isStale;

    private TenantId Id => new(this.GetPrimaryKeyString());

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _limits = new TenantLimits(state.State);
        TimeSpan period = options.Value.WalkPeriod;
        this.RegisterGrainTimer(SettleUnconfirmedAsync, new(period, period) { Interleave = true });
        return TenantId.TryParse(this.GetPrimaryKeyString(), out _)
            ? Task.CompletedTask
            : throw new ArgumentException(
                $"'{this.GetPrimaryKeyString()}' is not a tenant's name: a name has {Names.Rule}.");
    }

    // A state whose write failed is not written now, because the caller has received an error for the change.
    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        instruments.Open.Move(ref _measuredOpen, 0);
        if (!_isStale && _limits.Checkpoint(clock.GetUtcNow()))
        {
            await GrainCalls.TryAsync(StoreAsync);
        }
    }

    public async Task<TenantAnswer> PutAsync(TenantSettings settings)
    {
        if (settings.Fault() is { } fault)
        {
            return new TenantAnswer(null, fault);
        }

        if (state.State.IsClosed)
        {
            return await ReopenAsync(settings);
        }

        // The list has names only, not the ids of reopened tenants.
        if (Id.Value == Id.Name && !await grains.GetGrain<ITenantListGrain>(TenantList.PartOf(Id)).AddAsync(Id))
        {
            return new TenantAnswer(null, "The maximum number of tenants is reached.");
        }

        bool isWeight = state.State.Settings is { } known && known.Weight != settings.Weight;
        state.State.WeightVersion += isWeight ? 1 : 0;
        state.State.Settings = settings;
        await StoreAsync();
        if (isWeight)
        {
            // A queue that misses this gets the weight from the next walk.
            await GrainCalls.TryAsync(() => grains.WorkQueue().SetWeightAsync(Id, Weight()));
        }

        return new TenantAnswer(Shown());
    }

    public async Task<TenantView?> ViewAsync() => state.State switch
    {
        { IsActive: true } => Shown(),
        { Reopenings: > 0 } => await Latest().ViewAsync(),
        _ => null,
    };

    public async Task<TenantAnswer> AddKeyAsync(string label, string hash)
    {
        string? fault = this switch
        {
            _ when !state.State.IsActive => "There is no such tenant, or it was closed.",
            _ when !Digests.AreValid(hash) => "A key is identified by its SHA-256, 64 lower-case hexadecimal digits.",
            _ when label.Length is 0 or > LabelLengthMax => $"The label must have 1 to {LabelLengthMax} characters.",
            _ when state.State.Keys.Count >= ITenantGrain.KeysMax =>
                $"A tenant has at most {ITenantGrain.KeysMax} keys; revoke one first.",
            _ => null,
        };
        if (fault is not null)
        {
            return new TenantAnswer(null, fault);
        }

        if (!state.State.Keys.Exists(key => key.Hash == hash))
        {
            state.State.Keys.Add(new TenantKey(label, hash, clock.GetUtcNow()));
            await StoreAsync();
        }

        return new TenantAnswer(Shown());
    }

    public async Task<TenantAnswer> RevokeKeyAsync(string hash)
    {
        if (state.State.Keys.RemoveAll(key => key.Hash == hash) > 0)
        {
            await StoreAsync();
        }

        return new TenantAnswer(Shown());
    }

    public Task<bool> HasKeyAsync(string hash) =>
        Task.FromResult(state.State.IsActive && state.State.Keys.Exists(key => key.Hash == hash));

    public async Task CloseAsync()
    {
        state.State.IsClosed = true;
        state.State.Keys.Clear();
        await StoreAsync();

        // The walks cancel the tenant's open generations at once; a later walk cancels those that are missed.
        await Task.WhenAll(Enumerable.Range(0, await openSets.CountAsync())
            .Select(partition => GrainCalls.TryAsync(() => grains.GetGrain<IOpenSetGrain>(partition).WalkAsync())));
    }

    public Task<bool> IsClosedAsync() => Task.FromResult(state.State.IsClosed);

    public async Task<Admission> AdmitAsync(GenerationId id, int evaluations) =>
        Measured(await DecideAsync(id, evaluations));

    public async Task<Admission> AdmitSessionAsync(SessionId id, bool begun) =>
        Measured(await DecideSessionAsync(id, begun));

    public async Task EndSessionAsync(SessionId id)
    {
        int part = PartOf(id);
        _sessions[part] = null;
        _sessions[part] = await Sessions(part).RemoveAsync(id);
    }

    public Task<TenantWeight> ConfirmAsync(GenerationId id, int evaluations, long day)
    {
        _limits.Confirm(id, evaluations, day, clock.GetUtcNow());
        MeasureOpen();
        return Task.FromResult(Weight());
    }

    // The refund applies in memory whether or not it can be stored.
    public async Task SettleAsync(GenerationId id, int computed)
    {
        bool store = _limits.Settle(id, computed);
        MeasureOpen();
        if (store)
        {
            await StoreAsync();
        }
    }

    private async Task<Admission> DecideAsync(GenerationId id, int evaluations)
    {
        if (state.State.IsActive && !_isCounted)
        {
            await CountOpenAsync();
        }

        if (!_limits.Has(id) && await RefuseStorageAsync() is { } refusal)
        {
            return refusal;
        }

        Admission admission = _limits.Admit(id, evaluations, clock.GetUtcNow(), out bool store);
        if (store)
        {
            await StoreAsync();
        }

        return admission;
    }

    // The list is authoritative, and the count is the sum over its partitions. A refusal writes nothing to the store.
    // Retention finds every counted session, because the session is listed for retention first.
    private async Task<Admission> DecideSessionAsync(SessionId id, bool begun)
    {
        Admission admission = begun ? new(AdmissionOutcome.Admitted)
            : await RefuseStorageAsync() ?? _limits.AdmitRequest(clock.GetUtcNow());
        if (admission.Outcome != AdmissionOutcome.Admitted)
        {
            return admission;
        }

        int part = PartOf(id), max = ISessionListGrain.SizeMax;
        if (!begun)
        {
            await Task.WhenAll(Enumerable.Range(0, _sessions.Length).Select(CountAsync));
            max = state.State.Settings!.Sessions - (_sessions.Sum()!.Value - _sessions[part]!.Value);
            if (_sessions[part] >= Math.Min(max, ISessionListGrain.SizeMax)
                && !(await Sessions(part).ReadAsync()).Contains(id))
            {
                return TooMany();
            }
        }

        var key = new SessionKey(Id, id);
        int[] partitions = await openSets.PartitionsOfAsync(key.ToString());
        await grains.GetGrain<IOpenSetGrain>(partitions[0]).FileAsync(key);
        _sessions[part] = null;
        _sessions[part] = await Sessions(part).AddAsync(id, max);
        return _sessions[part] is null ? TooMany() : admission;
    }

    private Admission Measured(Admission admission)
    {
        MeasureOpen();
        if (admission.Outcome != AdmissionOutcome.Admitted)
        {
            instruments.Refused(admission.Outcome);
        }

        return admission;
    }

    private void MeasureOpen() => instruments.Open.Move(ref _measuredOpen, _limits.Open);

    private TenantWeight Weight() => new(state.State.Settings?.Weight ?? 1, state.State.WeightVersion);

    // The open set is authoritative. Generations of a partition that does not answer are confirmed at its next walk.
    private async Task CountOpenAsync()
    {
        foreach (int[] part in Enumerable.Range(0, await openSets.CountAsync()).Chunk(Fan))
        {
            GenerationId[]?[] found = await Task.WhenAll(part.Select(partition =>
                GrainCalls.TryAsync(() => grains.GetGrain<IOpenSetGrain>(partition).OfAsync(Id))));
            foreach (GenerationId id in found.OfType<GenerationId[]>().SelectMany(ids => ids))
            {
                _limits.AddOpen(id, clock.GetUtcNow());
            }
        }

        _isCounted = true;
    }

    // Walks confirm open generations. A generation that was not confirmed for a while was admitted but never accepted,
    // because an answer was lost or a silo died: its grain settles the charge, as in a walk.
    private async Task SettleUnconfirmedAsync(CancellationToken cancellation)
    {
        TimeSpan patience = options.Value.SubmitTimeout + (2 * options.Value.WalkPeriod);
        foreach (GenerationId[] part in _limits.Unconfirmed(patience, clock.GetUtcNow()).Chunk(Fan))
        {
            await Task.WhenAll(part.Select(id => GrainCalls.TryAsync(
                () => grains.Generation(new GenerationKey(Id, id)).EnsureQueuedAsync(late: true))));
        }
    }

    // The next owner of a name must not get the data of the closed tenant. So the next owner is a new tenant with its
    // own id, which is part of the keys of its generations, sessions, blobs and limits.
    private async Task<TenantAnswer> ReopenAsync(TenantSettings settings)
    {
        if (Id.Value != Id.Name)
        {
            return new TenantAnswer(null, "There is no such tenant, or it was closed.");
        }

        if (state.State.Reopenings == 0 || await Latest().IsClosedAsync())
        {
            if (state.State.Reopenings == TenantId.ReopeningsMax)
            {
                return new TenantAnswer(
                    null, $"The tenant was closed and reopened {TenantId.ReopeningsMax} times; choose another name.");
            }

            state.State.Reopenings++;
            await StoreAsync();
        }

        return await Latest().PutAsync(settings);
    }

    private ITenantGrain Latest() => grains.Tenant(Id.Reopened(state.State.Reopenings));

    private async Task CountAsync(int part) => _sessions[part] ??= (await Sessions(part).ReadAsync()).Length;

    // Storage limits refuse only new work, so that accepted work can finish. The tenant's limit is checked before the
    // cluster's.
    private async Task<Admission?> RefuseStorageAsync()
    {
        if (state.State.Settings is not { } settings)
        {
            return null;
        }

        if (await meter.BytesOfAsync(Id) is { } bytes && bytes >= (long)settings.StoredMegabytes << 20)
        {
            if (limits.Passes(nameof(TenantLog.TooMuchStored), "", out int count))
            {
                logger.TooMuchStored(count, Id, bytes >> 20);
            }

            return new Admission(
                AdmissionOutcome.TooMuchStored, settings.Weight,
                Message: $"This tenant stores {bytes >> 20} MiB, and its limit is {settings.StoredMegabytes} MiB; "
                    + "delete generations or sessions, or wait until the retention time of those that ended is over.");
        }

        return meter.HasRoom ? null : new Admission(
            AdmissionOutcome.StoreFull, settings.Weight, TimeSpan.FromSeconds(30),
            "The store of this cluster is too full for new requests.");
    }

    private Admission TooMany()
    {
        if (limits.Passes(nameof(TenantLog.TooManySessions), "", out int count))
        {
            logger.TooManySessions(count, Id, state.State.Settings!.Sessions);
        }

        return new Admission(
            AdmissionOutcome.TooManySessions, state.State.Settings!.Weight,
            Message: $"This tenant is at its limit of {state.State.Settings!.Sessions} sessions; delete one first.");
    }

    private static int PartOf(SessionId session) =>
        StableParts.Of(session.Value, ISessionListGrain.Parts);

    private ISessionListGrain Sessions(int part) => grains.GetGrain<ISessionListGrain>($"{Id}/{part}");

    private TenantView Shown() => new()
    {
        Id = Id, Settings = state.State.Settings ?? new TenantSettings(), Keys = [.. state.State.Keys],
        Open = _limits.Open,
        EvaluationsToday = _limits.UsedToday(clock.GetUtcNow()),
    };

    private async Task StoreAsync()
    {
        try
        {
            await state.WriteOrDeactivateAsync(this);
        }
        catch (Exception)
        {
            _isStale = true;
            throw;
        }
    }
}

// A pool as a grain: the pure rule, the clock, and what the cluster knows of the pool. It remembers which models the
// pool's silos hold and how fast they are, because a pool that has scaled to zero has no silo that could say so.
using Atelier.Contracts;
using Atelier.Contracts.Scaling;
using Atelier.Grains.Placement;
using Atelier.Grains.Training;
using Microsoft.Extensions.Logging;
using Orleans.Runtime.MembershipService.SiloMetadata;

namespace Atelier.Grains.Scaling;

/// <summary>The stored state of a pool.</summary>
[GenerateSerializer, Alias("atelier.state.Pool")]
internal sealed class PoolState
{
    /// <summary>Models that the pool's silos hold, or held last.</summary>
    [Id(0)]
    public List<ModelDigest> Models { get; set; } = [];

    /// <summary>Last measured operations per second of a device; null before the first measurement.</summary>
    [Id(1)]
    public double? Speed { get; set; }
}

/// <summary>Decides how many silos a pool should have.</summary>
[GrainType("pool")]
[ControlSilo]
internal sealed class PoolGrain(
    [PersistentState("pool")] IPersistentState<PoolState> state, IClusterMembershipService membership,
    ISiloMetadataCache metadata, IGrainFactory grains, PoolInstruments instruments, TimeProvider clock,
    ILogger<PoolGrain> logger)
    : Grain, IPoolGrain
{
    // A measured speed is stored again if it differs from the stored one by more than this share.
    private const double SpeedChange = 0.2;

    // Cold starts after which a pool that should have silos and has none is reported.
    private const int StartsMax = 3;

    private readonly long _startedAt = clock.GetTimestamp();
    private PoolBounds? _bounds;
    private PoolScale? _rule;

    // Since when the pool has had no silo although it should; null if it has one, or needs none.
    private TimeSpan? _emptySince;
    private bool _isReported;

    private string Name => this.GetPrimaryKeyString();

    private TimeSpan Now => clock.GetElapsedTime(_startedAt);

    public async Task<PoolStatus> StatusAsync(PoolBounds bounds)
    {
        PoolScale rule = RuleOf(bounds);
        string[] silos = [.. Silos()];
        PoolWork work = await grains.WorkQueue().WorkForAsync(silos, [.. state.State.Models]);
        int wish = bounds.Trains ? await grains.GetGrain<IDevicePoolGrain>(0).DevicesWantedAsync() : 0;
        await RememberAsync(work);
        double? speed = work.Speed ?? state.State.Speed;

        // A pool that the cluster has never seen starts once, so that its models enter the catalog and its speed is
        // measured.
        bool isNew = bounds.Serves && state.State.Models.Count == 0 && silos.Length == 0;
        int wanted = rule.Wanted(
            new PoolLoad
            {
                Backlog = work.Backlog, Arrived = work.Arrived, Speed = speed, Ready = silos.Length,
                Leased = Math.Max(work.Leased, isNew ? 1 : 0), TrainingWish = wish,
            },
            Now);
        if (silos.Length == 0 && wanted > 0)
        {
            await grains.WorkQueue().SetStartAsync(new PoolStart(work.Models, rule.NextStart(Now), speed));
        }

        TimeSpan? backlog = speed is { } known ? TimeSpan.FromSeconds(Math.Min(work.Backlog / known, 1e9)) : null;
        var status = new PoolStatus(wanted, silos.Length, backlog);
        instruments.Update(Name, status);
        ReportIfEmpty(status, bounds.ColdStart);
        return status;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        instruments.Remove(Name);
        return Task.CompletedTask;
    }

    private PoolScale RuleOf(PoolBounds bounds)
    {
        if (_rule is null || bounds != _bounds)
        {
            _rule = new PoolScale(new PoolScaleOptions
            {
                Minimum = bounds.Minimum, Maximum = bounds.Maximum, TargetWait = bounds.TargetWait,
                ColdStart = bounds.ColdStart,
            });
            _bounds = bounds;
        }

        return _rule;
    }

    // A pool that the autoscaler asks for under a wrong name never gets a silo.
    private void ReportIfEmpty(PoolStatus status, TimeSpan coldStart)
    {
        if (status.Ready > 0 || status.Wanted == 0)
        {
            (_emptySince, _isReported) = (null, false);
            return;
        }

        _emptySince ??= Now;
        TimeSpan time = Now - _emptySince.Value;
        if (!_isReported && time > StartsMax * coldStart)
        {
            _isReported = true;
            IEnumerable<string> pools = Members().Select(member => member.Pool).OfType<string>().Distinct();
            logger.PoolIsEmpty(
                Name, status.Wanted, time, string.Join(", ", pools.Order(StringComparer.Ordinal)));
        }
    }

    private IEnumerable<string> Silos() =>
        Members().Where(member => member.Pool == Name).Select(member => member.Silo);

    // Silos that are shutting down are not active anymore.
    private IEnumerable<(string Silo, string? Pool)> Members() => membership.CurrentSnapshot.Members.Values
        .Where(member => member.Status == SiloStatus.Active)
        .Select(member => (
            member.Name,
            metadata.GetSiloMetadata(member.SiloAddress).Metadata.GetValueOrDefault(IPoolGrain.Metadata)));

    // Models that the silos do not hold anymore, such as those of panels, are forgotten.
    private async Task RememberAsync(PoolWork work)
    {
        PoolState known = state.State;
        bool hasChanged = work.Speed is { } speed
            && !(Math.Abs(speed - (known.Speed ?? 0)) <= SpeedChange * (known.Speed ?? 0));
        if (hasChanged || !work.Models.ToHashSet().SetEquals(known.Models))
        {
            (known.Models, known.Speed) = ([.. work.Models], work.Speed ?? known.Speed);
            await state.WriteOrDeactivateAsync(this);
        }
    }
}

// A tenant's limits as a pure protocol: requests per minute, open generations, evaluations per day. One grain enforces
// them for all gateways. Evaluations are charged when a generation is admitted; those that it did not compute are
// refunded when it ends: once for each id, and only if this object made the charge or the open generation has reported
// it. The day's count is stored in blocks that are reserved ahead; when the grain deactivates, the exact count is
// stored. The open set determines which generations are open.
using Atelier.Contracts;
using Atelier.Contracts.Tenants;

namespace Atelier.Grains.Tenants;

/// <summary>The stored state of a tenant.</summary>
[GenerateSerializer, Alias("atelier.state.Tenant")]
public sealed class TenantState
{
    /// <summary>The tenant's limits; null if there is no such tenant.</summary>
    [Id(0)]
    public TenantSettings? Settings { get; set; }

    /// <summary>The tenant's keys.</summary>
    [Id(1)]
    public List<TenantKey> Keys { get; set; } = [];

    /// <summary>The day of the count of evaluations, in days since 1970 (UTC).</summary>
    [Id(2)]
    public long Day { get; set; }

    /// <summary>Evaluations of that day, used or reserved ahead.</summary>
    [Id(3)]
    public long Reserved { get; set; }

    /// <summary>Whether the tenant was closed.</summary>
    [Id(4)]
    public bool IsClosed { get; set; }

    /// <summary>Version of the weight; each change increases it.</summary>
    [Id(5)]
    public long WeightVersion { get; set; }

    /// <summary>Requests left in the token bucket; null if not known, which means that it is full.</summary>
    [Id(6)]
    public double? Tokens { get; set; }

    /// <summary>Time at which <see cref="Tokens"/> was computed.</summary>
    [Id(7)]
    public DateTimeOffset TokensAt { get; set; }

    /// <summary>How often the name was reopened after this tenant was closed.</summary>
    [Id(8)]
    public int Reopenings { get; set; }

    /// <summary>Whether the tenant exists and was not closed.</summary>
    public bool IsActive => Settings is not null && !IsClosed;
}

/// <summary>Decides whether a tenant may start a generation, and counts what it uses.</summary>
/// <param name="state">The tenant's stored state.</param>
public sealed class TenantLimits(TenantState state)
{
    private const int Blocks = 100;

    // Number of settled generations to remember. One of them may be confirmed late, by an older activation that a
    // network partition left behind.
    private const int SettledMax = 1000;

    private readonly Dictionary<GenerationId, OpenCharge> _open = [];
    private readonly HashSet<GenerationId> _settled = [];
    private readonly Queue<GenerationId> _settledInOrder = [];
    private double _tokens = state.Tokens ?? double.PositiveInfinity;
    private DateTimeOffset _tokensAt = state.TokensAt;
    private long _used = state.Reserved;
    private long _usedDay = state.Day;

    // The charge of an open generation, null if not known, and when the generation was last confirmed.
    private readonly record struct OpenCharge(int? Evaluations, long Day, DateTimeOffset ConfirmedAt);

    /// <summary>Number of open generations.</summary>
    public int Open => _open.Count;

    /// <summary>Whether a generation is counted as open.</summary>
    public bool Has(GenerationId id) => _open.ContainsKey(id);

    /// <summary>Evaluations used today; after a crash, those reserved ahead count as used.</summary>
    public long UsedToday(DateTimeOffset now) => _usedDay == DayOf(now) ? _used : 0;

    /// <summary>Admits a request, unless the rate limit is reached, and counts it.</summary>
    public Admission AdmitRequest(DateTimeOffset now)
    {
        if (Refusal(now) is { } refusal)
        {
            return refusal;
        }

        _tokens--;
        return Admitted();
    }

    /// <summary>Admits a generation, unless a limit is reached, and charges it. Idempotent by the id.</summary>
    /// <param name="id">Id of the generation.</param>
    /// <param name="evaluations">Network evaluations that it takes.</param>
    /// <param name="now">The time.</param>
    /// <param name="store">Whether the state must be stored before the answer is given.</param>
    public Admission Admit(GenerationId id, int evaluations, DateTimeOffset now, out bool store)
    {
        store = false;
        if (state.IsActive && _open.TryGetValue(id, out OpenCharge known) && known.Evaluations is not null)
        {
            _open[id] = known with { ConfirmedAt = now };
            return Admitted(known.Day);
        }

        if (Refusal(now) is { } refusal)
        {
            return refusal;
        }

        TenantSettings settings = state.Settings!;
        if (_open.Count - (Has(id) ? 1 : 0) >= settings.OpenGenerations)
        {
            return new Admission(
                AdmissionOutcome.TooManyOpen, settings.Weight, TimeSpan.FromSeconds(5),
                $"This tenant is at its limit of {settings.OpenGenerations} open generations; wait for one to "
                + "end, or cancel one.");
        }

        if (_usedDay != DayOf(now))
        {
            (_usedDay, _used) = (DayOf(now), 0);
        }

        if (_used + evaluations > settings.EvaluationsPerDay)
        {
            DateTimeOffset midnight = DateTimeOffset.UnixEpoch.AddDays(DayOf(now) + 1);
            return new Admission(
                AdmissionOutcome.DailyLimit, settings.Weight, midnight - now,
                $"This tenant may use {settings.EvaluationsPerDay} evaluations per day; "
                + $"{settings.EvaluationsPerDay - _used} are left, "
                + $"and this generation takes {evaluations}.");
        }

        _tokens--;
        _open[id] = new OpenCharge(evaluations, _usedDay, now);
        _settled.Remove(id);
        store = Use(evaluations, settings);
        return Admitted(_usedDay);
    }

    /// <summary>Adds an open generation whose charge is not known yet.</summary>
    public void AddOpen(GenerationId id, DateTimeOffset now) => _open.TryAdd(id, new OpenCharge(null, 0, now));

    /// <summary>
    /// Records that a generation reports itself as open, with its charge and the day of that charge. A generation that
    /// was settled before gets no further refund.
    /// </summary>
    public void Confirm(GenerationId id, int evaluations, long day, DateTimeOffset now) =>
        _open[id] = _open.TryGetValue(id, out OpenCharge known) && known.Evaluations is not null
            ? known with { ConfirmedAt = now }
            : new OpenCharge(_settled.Contains(id) ? null : evaluations, day, now);

    /// <summary>
    /// Ends the charge of a generation, which may never have started, and refunds the evaluations that it did not use.
    /// </summary>
    /// <returns>Whether the state should be stored, because it reserves far more evaluations than were used.</returns>
    public bool Settle(GenerationId id, int computed)
    {
        if (_open.Remove(id, out OpenCharge charge) && charge.Evaluations is { } evaluations && charge.Day == _usedDay)
        {
            _used = Math.Max(0, _used - Math.Max(0, evaluations - Math.Max(0, computed)));
        }

        if (_settled.Add(id))
        {
            _settledInOrder.Enqueue(id);
        }

        if (_settledInOrder.Count > SettledMax)
        {
            _settled.Remove(_settledInOrder.Dequeue());
        }

        bool store = state.Settings is { } settings && state.Day == _usedDay
            && state.Reserved - _used > 2 * (settings.EvaluationsPerDay / Blocks);
        if (store)
        {
            Reserve(state.Settings!);
        }

        return store;
    }

    /// <summary>Open generations that were not confirmed for longer than <paramref name="patience"/>.</summary>
    public IReadOnlyList<GenerationId> Unconfirmed(TimeSpan patience, DateTimeOffset now) =>
        [.. _open.Where(one => now - one.Value.ConfirmedAt > patience).Select(one => one.Key)];

    /// <summary>Writes the exact counts into the state; returns whether it must be stored.</summary>
    public bool Checkpoint(DateTimeOffset now)
    {
        if (state.Settings is not { } settings)
        {
            return false;
        }

        bool isDifferent = state.Day != _usedDay || state.Reserved != _used;
        (state.Day, state.Reserved) = (_usedDay, _used);
        if (double.IsInfinity(_tokens))
        {
            return isDifferent; // No request came since the last activation: the stored tokens are the newest.
        }

        Refill(settings, now);
        isDifferent |= state.Tokens is null || Math.Floor(_tokens) < settings.RequestsPerMinute;
        (state.Tokens, state.TokensAt) = (_tokens, _tokensAt);
        return isDifferent;
    }

    private Admission Admitted(long day = 0) => new(
        AdmissionOutcome.Admitted, state.Settings!.Weight, WeightVersion: state.WeightVersion, Day: day);

    // The refusal of a request of this tenant; null if the tenant may make one.
    private Admission? Refusal(DateTimeOffset now)
    {
        if (!state.IsActive)
        {
            return new Admission(AdmissionOutcome.UnknownTenant, Message: "There is no such tenant, or it was closed.");
        }

        TenantSettings settings = state.Settings!;
        Refill(settings, now);
        if (_tokens >= 1)
        {
            return null;
        }

        TimeSpan wait = settings.RequestsPerMinute == 0
            ? TimeSpan.FromMinutes(1)
            : TimeSpan.FromMinutes((1 - _tokens) / settings.RequestsPerMinute);
        return new Admission(
            AdmissionOutcome.RateLimited, settings.Weight, wait,
            $"This tenant may make {settings.RequestsPerMinute} requests per minute.");
    }

    private bool Use(int evaluations, TenantSettings settings)
    {
        _used += evaluations;
        bool store = state.Day != _usedDay || _used > state.Reserved;
        if (store)
        {
            Reserve(settings);
        }

        return store;
    }

    private void Reserve(TenantSettings settings)
    {
        long ahead = Math.Min(settings.EvaluationsPerDay, _used + (settings.EvaluationsPerDay / Blocks));
        (state.Day, state.Reserved) = (_usedDay, Math.Max(_used, ahead));
    }

    // A token bucket of one minute's requests, which starts full.
    private void Refill(TenantSettings settings, DateTimeOffset now)
    {
        double minutes = Math.Max(0, (now - _tokensAt).TotalMinutes);
        _tokens = Math.Min(settings.RequestsPerMinute, _tokens + (minutes * settings.RequestsPerMinute));
        _tokensAt = now;
    }

    private static long DayOf(DateTimeOffset now) => (long)Math.Floor((now - DateTimeOffset.UnixEpoch).TotalDays);
}

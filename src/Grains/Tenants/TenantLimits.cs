// A tenant's limits as a pure protocol: requests a minute, generations open, evaluations a day. One grain keeps them
// for all gateways. Evaluations are charged when a generation is admitted; those that it did not compute are refunded
// when it ends: by its id, once, and only if this object charged it or the open generation has reported the charge. The
// day's count is stored in blocks taken ahead, and exactly when the grain deactivates; the open set says what is open.
using Atelier.Contracts;
using Atelier.Contracts.Tenants;

namespace Atelier.Grains.Tenants;

/// <summary>A tenant as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.Tenant")]
public sealed class TenantState
{
    /// <summary>What it may do; none if there is no such tenant.</summary>
    [Id(0)]
    public TenantSettings? Settings { get; set; }

    /// <summary>Its keys.</summary>
    [Id(1)]
    public List<TenantKey> Keys { get; set; } = [];

    /// <summary>The day that evaluations are counted for, in days since 1970 (UTC).</summary>
    [Id(2)]
    public long Day { get; set; }

    /// <summary>Evaluations of that day, used or taken ahead.</summary>
    [Id(3)]
    public long Reserved { get; set; }

    /// <summary>Whether it was closed.</summary>
    [Id(4)]
    public bool IsClosed { get; set; }

    /// <summary>Number of the last change of the weight.</summary>
    [Id(5)]
    public long WeightVersion { get; set; }

    /// <summary>Requests left in the minute's bucket; null if that is not known, and the bucket is full.</summary>
    [Id(6)]
    public double? Tokens { get; set; }

    /// <summary>When so many were left.</summary>
    [Id(7)]
    public DateTimeOffset TokensAt { get; set; }

    /// <summary>How often the name was opened again after this tenant was closed.</summary>
    [Id(8)]
    public int Reopenings { get; set; }

    /// <summary>Whether it may do anything.</summary>
    public bool IsActive => Settings is not null && !IsClosed;
}

/// <summary>Whether a tenant may start a generation.</summary>
/// <param name="state">Its stored state.</param>
public sealed class TenantLimits(TenantState state)
{
    private const int Blocks = 100;

    private readonly Dictionary<GenerationId, OpenCharge> _open = [];
    private double _tokens = state.Tokens ?? double.PositiveInfinity;
    private DateTimeOffset _tokensAt = state.TokensAt;
    private long _used = state.Reserved;
    private long _usedDay = state.Day;

    // What an open generation was charged, if that is known, and when it was last heard of.
    private readonly record struct OpenCharge(int? Evaluations, long Day, DateTimeOffset HeardAt);

    /// <summary>Generations open.</summary>
    public int Open => _open.Count;

    /// <summary>Whether a generation counts as open already.</summary>
    public bool Has(GenerationId id) => _open.ContainsKey(id);

    /// <summary>Evaluations used today; after a restart, those taken ahead count as used.</summary>
    public long UsedToday(DateTimeOffset now) => _usedDay == DayOf(now) ? _used : 0;

    /// <summary>Asks whether one more request may be made, and counts it if it may.</summary>
    public Admission AdmitRequest(DateTimeOffset now)
    {
        if (Refusal(now) is { } refusal)
        {
            return refusal;
        }

        _tokens--;
        return Admitted();
    }

    /// <summary>Asks whether a generation may start, and counts it if it may. The same id twice is once.</summary>
    /// <param name="id">Which one.</param>
    /// <param name="evaluations">What it takes.</param>
    /// <param name="now">The time.</param>
    /// <param name="store">Whether the state must be stored before the answer is given.</param>
    public Admission Admit(GenerationId id, int evaluations, DateTimeOffset now, out bool store)
    {
        store = false;
        if (state.IsActive && _open.TryGetValue(id, out OpenCharge known) && known.Evaluations is not null)
        {
            _open[id] = known with { HeardAt = now };
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
                $"This tenant may have {settings.OpenGenerations} generations open; wait for one to end, or cancel "
                + "one.");
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
                $"This tenant may use {settings.EvaluationsPerDay} evaluations a day; "
                + $"{settings.EvaluationsPerDay - _used} are left "
                + $"and this generation takes {evaluations}.");
        }

        _tokens--;
        _open[id] = new OpenCharge(evaluations, _usedDay, now);
        store = Use(evaluations, settings);
        return Admitted(_usedDay);
    }

    /// <summary>The open set holds a generation; what it was charged is not known.</summary>
    public void Found(GenerationId id, DateTimeOffset now) => _open.TryAdd(id, new OpenCharge(null, 0, now));

    /// <summary>A generation says that it is open, and what it was charged on which day.</summary>
    public void Confirm(GenerationId id, int evaluations, long day, DateTimeOffset now) =>
        _open[id] = _open.TryGetValue(id, out OpenCharge known) && known.Evaluations is not null
            ? known with { HeardAt = now }
            : new OpenCharge(evaluations, day, now);

    /// <summary>A generation has ended, or did not start; what it was charged and did not use is given back.</summary>
    /// <returns>Whether the state should be stored, since it says much more than was used.</returns>
    public bool Settle(GenerationId id, int computed)
    {
        if (_open.Remove(id, out OpenCharge charge) && charge.Evaluations is { } evaluations && charge.Day == _usedDay)
        {
            _used = Math.Max(0, _used - Math.Max(0, evaluations - Math.Max(0, computed)));
        }

        bool store = state.Settings is { } settings && state.Day == _usedDay
            && state.Reserved - _used > 2 * (settings.EvaluationsPerDay / Blocks);
        if (store)
        {
            Reserve(state.Settings!);
        }

        return store;
    }

    /// <summary>Generations that count as open and that nobody has confirmed for a while.</summary>
    public IReadOnlyList<GenerationId> Unheard(TimeSpan patience, DateTimeOffset now) =>
        [.. _open.Where(one => now - one.Value.HeardAt > patience).Select(one => one.Key)];

    /// <summary>Notes all counts as they are; whether the state must be stored for it.</summary>
    public bool Rest(DateTimeOffset now)
    {
        if (state.Settings is not { } settings || double.IsInfinity(_tokens))
        {
            return false;
        }

        Refill(settings, now);
        bool isDifferent = state.Day != _usedDay || state.Reserved != _used
            || state.Tokens is null || Math.Floor(_tokens) < settings.RequestsPerMinute;
        (state.Day, state.Reserved) = (_usedDay, _used);
        (state.Tokens, state.TokensAt) = (_tokens, _tokensAt);
        return isDifferent;
    }

    private Admission Admitted(long day = 0) => new(
        AdmissionOutcome.Admitted, state.Settings!.Weight, WeightVersion: state.WeightVersion, Day: day);

    // Why a request may not be made, whatever it asks for; none if it may.
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
            $"This tenant may make {settings.RequestsPerMinute} requests a minute.");
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

    // A bucket that holds one minute's requests and is full at the start.
    private void Refill(TenantSettings settings, DateTimeOffset now)
    {
        double minutes = Math.Max(0, (now - _tokensAt).TotalMinutes);
        _tokens = Math.Min(settings.RequestsPerMinute, _tokens + (minutes * settings.RequestsPerMinute));
        _tokensAt = now;
    }

    private static long DayOf(DateTimeOffset now) => (long)Math.Floor((now - DateTimeOffset.UnixEpoch).TotalDays);
}

// A tenant's limits as a pure protocol: requests a minute, generations open, evaluations a day. One grain keeps them
// for all gateways. Only the day's count is stored, in blocks taken ahead: a crash costs the tenant a hundredth of its
// day.
using Atelier.Contracts;

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

    /// <summary>Whether it may do anything.</summary>
    public bool IsActive => Settings is not null && !IsClosed;
}

/// <summary>Whether a tenant may start a generation.</summary>
/// <param name="state">Its stored state.</param>
public sealed class TenantLimits(TenantState state)
{
    private const int Blocks = 100;

    private readonly HashSet<GenerationId> _open = [];
    private double _tokens = double.PositiveInfinity;
    private DateTimeOffset _tokensAt;
    private long _used = state.Reserved;
    private long _usedDay = state.Day;

    /// <summary>Generations open.</summary>
    public int Open => _open.Count;

    /// <summary>Whether a generation counts as open already.</summary>
    public bool Has(GenerationId id) => _open.Contains(id);

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
        return new Admission(AdmissionOutcome.Admitted, state.Settings!.Weight);
    }

    /// <summary>Asks whether a generation may start, and counts it if it may. The same id twice is once.</summary>
    /// <param name="id">Which one.</param>
    /// <param name="evaluations">What it takes.</param>
    /// <param name="now">The time.</param>
    /// <param name="store">Whether the state must be stored before the answer is given.</param>
    public Admission Admit(GenerationId id, int evaluations, DateTimeOffset now, out bool store)
    {
        store = false;
        if (state.IsActive && _open.Contains(id))
        {
            return new Admission(AdmissionOutcome.Admitted, state.Settings!.Weight);
        }

        if (Refusal(now) is { } refusal)
        {
            return refusal;
        }

        TenantSettings settings = state.Settings!;
        if (_open.Count >= settings.OpenGenerations)
        {
            return new Admission(
                AdmissionOutcome.TooManyOpen, settings.Weight, TimeSpan.FromSeconds(5),
                $"This tenant may have {settings.OpenGenerations} generations open; wait for one to end, or cancel one.");
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
                $"This tenant may use {settings.EvaluationsPerDay} evaluations a day; {settings.EvaluationsPerDay - _used} are left "
                + $"and this generation takes {evaluations}.");
        }

        _tokens--;
        _open.Add(id);
        store = Use(evaluations, settings);
        return new Admission(AdmissionOutcome.Admitted, settings.Weight);
    }

    /// <summary>A generation was found open after a restart.</summary>
    public void Reopen(GenerationId id) => _open.Add(id);

    /// <summary>A generation has ended.</summary>
    public void Ended(GenerationId id) => _open.Remove(id);

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
            long ahead = Math.Min(settings.EvaluationsPerDay, _used + (settings.EvaluationsPerDay / Blocks));
            (state.Day, state.Reserved) = (_usedDay, Math.Max(_used, ahead));
        }

        return store;
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

// Tenants, their keys and their limits. A key is shown once, when it is made; here only its SHA-256 is known, which is
// enough because a key is 256 bits of chance and cannot be guessed from its hash.
namespace Atelier.Contracts;

/// <summary>What a tenant may do, and its share.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TenantSettings")]
public sealed record TenantSettings
{
    /// <summary>Largest weight; weights below 1 are none.</summary>
    public const double WeightMax = 1000;

    /// <summary>Most generations that a tenant may have open.</summary>
    public const int OpenMax = 10_000;

    /// <summary>Most sessions that a tenant may have.</summary>
    public const int SessionsMax = 10_000;

    /// <summary>Most that a tenant may keep stored, in MiB.</summary>
    public const int StoredMegabytesMax = 1 << 20;

    /// <summary>Share of the devices against other tenants', where both have work.</summary>
    [Id(0)]
    public double Weight { get; init; } = 1;

    /// <summary>Requests a minute.</summary>
    [Id(1)]
    public int RequestsPerMinute { get; init; } = 600;

    /// <summary>Generations open at a time.</summary>
    [Id(2)]
    public int OpenGenerations { get; init; } = 1000;

    /// <summary>Evaluations of a network in a day (UTC).</summary>
    [Id(3)]
    public long EvaluationsPerDay { get; init; } = 10_000_000;

    /// <summary>Sessions at a time; one that is deleted or forgotten does not count.</summary>
    [Id(4)]
    public int Sessions { get; init; } = 1000;

    /// <summary>
    /// MiB of stored states: requests that are open or that have ended and are kept, and sessions. At the limit,
    /// nothing new is accepted until something is deleted or forgotten.
    /// </summary>
    [Id(5)]
    public int StoredMegabytes { get; init; } = 1024;

    /// <summary>What is wrong with these settings, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        { Weight: not (>= 1 and <= WeightMax) } => $"The weight must lie in 1..{WeightMax}, not be {Weight}.",
        { RequestsPerMinute: < 0 or > 1_000_000 } =>
            $"Requests per minute must lie in 0..1000000, not be {RequestsPerMinute}.",
        { OpenGenerations: < 0 or > OpenMax } =>
            $"Open generations must lie in 0..{OpenMax}, not be {OpenGenerations}.",
        { Sessions: < 0 or > SessionsMax } => $"Sessions must lie in 0..{SessionsMax}, not be {Sessions}.",
        { StoredMegabytes: < 0 or > StoredMegabytesMax } =>
            $"Stored megabytes must lie in 0..{StoredMegabytesMax}, not be {StoredMegabytes}.",
        { EvaluationsPerDay: < 0 } => "Evaluations per day must not be negative.",
        _ => null,
    };
}

/// <summary>A key as it may be shown again: not the key itself.</summary>
/// <param name="Label">What its maker calls it.</param>
/// <param name="Hash">SHA-256 of the key, lower-case hexadecimal.</param>
/// <param name="CreatedAt">When it was made.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantKey")]
public sealed record TenantKey(
    [property: Id(0)] string Label, [property: Id(1)] string Hash, [property: Id(2)] DateTimeOffset CreatedAt);

/// <summary>A tenant as an administrator sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TenantView")]
public sealed record TenantView
{
    /// <summary>Which one.</summary>
    [Id(0)]
    public required TenantId Id { get; init; }

    /// <summary>What it may do.</summary>
    [Id(1)]
    public required TenantSettings Settings { get; init; }

    /// <summary>Its keys.</summary>
    [Id(2)]
    public required TenantKey[] Keys { get; init; }

    /// <summary>Generations open now.</summary>
    [Id(3)]
    public int Open { get; init; }

    /// <summary>
    /// Evaluations used today: those that were computed, and all that open generations may take. After the death of a
    /// silo it may be two hundredths of the limit more.
    /// </summary>
    [Id(4)]
    public long EvaluationsToday { get; init; }
}

/// <summary>Whether a tenant may start a generation.</summary>
[GenerateSerializer, Alias("atelier.AdmissionOutcome")]
public enum AdmissionOutcome
{
    /// <summary>It may.</summary>
    Admitted,

    /// <summary>There is no such tenant.</summary>
    UnknownTenant,

    /// <summary>It makes more requests a minute than it may.</summary>
    RateLimited,

    /// <summary>It has as many open generations as it may.</summary>
    TooManyOpen,

    /// <summary>It has used the evaluations that it may use in a day.</summary>
    DailyLimit,

    /// <summary>It has as many sessions as it may.</summary>
    TooManySessions,

    /// <summary>It keeps as much as it may.</summary>
    TooMuchStored,

    /// <summary>The store has no room for anything new, whoever asks.</summary>
    StoreFull,
}

/// <summary>Answer to the question whether a tenant may start a generation.</summary>
/// <param name="Outcome">Whether it may.</param>
/// <param name="Weight">The tenant's weight.</param>
/// <param name="RetryAfter">When to come back, if it may not now.</param>
/// <param name="Message">What is wrong and what would be right, if it may not.</param>
/// <param name="WeightVersion">Number of the change that gave the weight.</param>
/// <param name="Day">The day whose evaluations it is charged to, in days since 1970 (UTC).</param>
[GenerateSerializer, Immutable, Alias("atelier.Admission")]
public sealed record Admission(
    [property: Id(0)] AdmissionOutcome Outcome, [property: Id(1)] double Weight = 1,
    [property: Id(2)] TimeSpan? RetryAfter = null, [property: Id(3)] string? Message = null,
    [property: Id(4)] long WeightVersion = 0, [property: Id(5)] long Day = 0);

/// <summary>A tenant's weight.</summary>
/// <param name="Weight">The weight.</param>
/// <param name="Version">Number of the change that gave it: of two, the one with the larger number holds.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantWeight")]
public sealed record TenantWeight([property: Id(0)] double Weight, [property: Id(1)] long Version);

/// <summary>What became of a change to a tenant.</summary>
/// <param name="View">The tenant as it is then; none if the change was refused.</param>
/// <param name="Message">What is wrong and what would be right, if it was.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantAnswer")]
public sealed record TenantAnswer([property: Id(0)] TenantView? View, [property: Id(1)] string? Message = null);

/// <summary>A tenant; its key is its name.</summary>
[Alias("atelier.ITenantGrain")]
public interface ITenantGrain : IGrainWithStringKey
{
    /// <summary>Most keys of a tenant at a time.</summary>
    const int KeysMax = 32;

    /// <summary>
    /// Makes the tenant, or changes what it may do. Where the tenant of this name was closed, this makes another one,
    /// under the id in the answer: it has nothing of the earlier one.
    /// </summary>
    [Alias("Put")]
    Task<TenantAnswer> PutAsync(TenantSettings settings);

    /// <summary>
    /// The tenant that currently has this name, under its own id; null if there is none.
    /// </summary>
    [Alias("View")]
    Task<TenantView?> ViewAsync();

    /// <summary>Lets a key in, given by its hash; the same twice is once.</summary>
    [Alias("AddKey")]
    Task<TenantAnswer> AddKeyAsync(string label, string hash);

    /// <summary>Refuses a key from now on.</summary>
    [Alias("RevokeKey")]
    Task<TenantAnswer> RevokeKeyAsync(string hash);

    /// <summary>Whether a key, given by its hash, is the tenant's.</summary>
    [Alias("HasKey")]
    Task<bool> HasKeyAsync(string hash);

    /// <summary>
    /// Closes the tenant, for good: its keys and links are refused, nothing new is accepted, and what it has open is
    /// cancelled.
    /// </summary>
    [Alias("Close")]
    Task CloseAsync();

    /// <summary>Whether the tenant with this very id was closed.</summary>
    [Alias("IsClosed")]
    Task<bool> IsClosedAsync();

    /// <summary>Asks whether a generation may start, and counts it if it may; the same id twice is once.</summary>
    [Alias("Admit")]
    Task<Admission> AdmitAsync(GenerationId id, int evaluations);

    /// <summary>
    /// Asks whether a session may begin, and counts and lists it if it may; the same id twice is once.
    /// </summary>
    /// <param name="id">Which one.</param>
    /// <param name="begun">Whether it had begun before sessions were counted: then no limit refuses it.</param>
    [Alias("AdmitSession")]
    Task<Admission> AdmitSessionAsync(SessionId id, bool begun);

    /// <summary>A session was deleted or forgotten and does not count any more.</summary>
    [Alias("EndSession")]
    Task EndSessionAsync(SessionId id);

    /// <summary>A generation is open: it counts. Gives the tenant's weight.</summary>
    /// <param name="id">Which one.</param>
    /// <param name="evaluations">What it was charged.</param>
    /// <param name="day">The day that it was charged to.</param>
    [Alias("Confirm")]
    Task<TenantWeight> ConfirmAsync(GenerationId id, int evaluations, long day);

    /// <summary>
    /// A generation has ended, or did not start after all. What it was charged for more is given back; twice is once.
    /// </summary>
    /// <param name="id">Which one.</param>
    /// <param name="computed">Evaluations that were computed for it.</param>
    [Alias("Settle")]
    Task SettleAsync(GenerationId id, int computed);
}

/// <summary>A part of the list of tenants; its key is 0 to <see cref="Partitions"/> - 1.</summary>
[Alias("atelier.ITenantListGrain")]
public interface ITenantListGrain : IGrainWithIntegerKey
{
    /// <summary>Parts of the list.</summary>
    const int Partitions = 64;

    /// <summary>Most tenants in a part: names of 64 characters stay below 64 KiB.</summary>
    const int SizeMax = 800;

    /// <summary>Adds a tenant; false if the part is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(TenantId tenant);

    /// <summary>The tenants in the part.</summary>
    [Alias("Read")]
    Task<TenantId[]> ReadAsync();
}

/// <summary>The list of tenants.</summary>
public static class TenantList
{
    /// <summary>The part of the list that a tenant is in: the key of its <see cref="ITenantListGrain"/>.</summary>
    public static int PartOf(TenantId tenant) => StableParts.Of($"{tenant}/", ITenantListGrain.Partitions);
}

// Tenants, their keys and their limits. A key is shown once, when it is made; here only its SHA-256 is known, which is
// enough because a key is 256 bits of chance and cannot be guessed from its hash.
namespace Atelier.Contracts.Tenants;

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

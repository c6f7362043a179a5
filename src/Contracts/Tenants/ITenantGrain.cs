// Tenants, their keys and their limits. A key is shown once, when it is created. Only its SHA-256 is kept, which is
// enough because a key has 256 random bits and cannot be guessed from its hash.
namespace Atelier.Contracts.Tenants;

/// <summary>A tenant; the grain's key is the tenant's id.</summary>
[Alias("atelier.ITenantGrain")]
public interface ITenantGrain : IGrainWithStringKey
{
    /// <summary>Maximum number of active keys of a tenant.</summary>
    const int KeysMax = 32;

    /// <summary>
    /// Creates the tenant or changes its settings. If the tenant of this name was closed, a new one is created under
    /// the id in the answer; it shares nothing with the earlier one.
    /// </summary>
    [Alias("Put")]
    Task<TenantAnswer> PutAsync(TenantSettings settings);

    /// <summary>The tenant that currently has this name, with its id; null if there is none.</summary>
    [Alias("View")]
    Task<TenantView?> ViewAsync();

    /// <summary>Adds a key, given by its hash. Idempotent.</summary>
    [Alias("AddKey")]
    Task<TenantAnswer> AddKeyAsync(string label, string hash);

    /// <summary>Revokes a key, given by its hash.</summary>
    [Alias("RevokeKey")]
    Task<TenantAnswer> RevokeKeyAsync(string hash);

    /// <summary>Whether a key, given by its hash, belongs to the tenant.</summary>
    [Alias("HasKey")]
    Task<bool> HasKeyAsync(string hash);

    /// <summary>
    /// Closes the tenant permanently: its keys and links are refused, nothing new is accepted, and its open generations
    /// are cancelled.
    /// </summary>
    [Alias("Close")]
    Task CloseAsync();

    /// <summary>Whether the tenant with exactly this id was closed.</summary>
    [Alias("IsClosed")]
    Task<bool> IsClosedAsync();

    /// <summary>Checks whether a generation may start, and counts it if it may. Idempotent by id.</summary>
    [Alias("Admit")]
    Task<Admission> AdmitAsync(GenerationId id, int evaluations);

    /// <summary>Checks whether a session may begin, and counts and lists it if it may. Idempotent by id.</summary>
    /// <param name="id">The session.</param>
    /// <param name="begun">
    /// Whether the session began before sessions were counted; no limit applies to such a session.
    /// </param>
    [Alias("AdmitSession")]
    Task<Admission> AdmitSessionAsync(SessionId id, bool begun);

    /// <summary>Stops counting a session that was deleted, by a client or by retention.</summary>
    [Alias("EndSession")]
    Task EndSessionAsync(SessionId id);

    /// <summary>Counts a generation as open. Returns the tenant's weight.</summary>
    /// <param name="id">The generation.</param>
    /// <param name="evaluations">Evaluations that were charged for the generation.</param>
    /// <param name="day">The day to which they were charged.</param>
    [Alias("Confirm")]
    Task<TenantWeight> ConfirmAsync(GenerationId id, int evaluations, long day);

    /// <summary>
    /// Settles the charge of a generation that has ended or was not accepted: unused evaluations are refunded.
    /// Idempotent.
    /// </summary>
    /// <param name="id">The generation.</param>
    /// <param name="computed">Evaluations actually computed for it.</param>
    [Alias("Settle")]
    Task SettleAsync(GenerationId id, int computed);
}

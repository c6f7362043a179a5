// Tenants, their keys and their limits. A key is shown once, when it is created. Only its SHA-256 is kept, which is
// enough because a key has 256 random bits and cannot be guessed from its hash.
namespace Atelier.Contracts.Tenants;

/// <summary>A tenant; its key is its name.</summary>
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
    /// <param name="begun">Whether it began before sessions were counted; then no limit applies.</param>
    [Alias("AdmitSession")]
    Task<Admission> AdmitSessionAsync(SessionId id, bool begun);

    /// <summary>A session was deleted or forgotten and no longer counts.</summary>
    [Alias("EndSession")]
    Task EndSessionAsync(SessionId id);

    /// <summary>Counts a generation as open. Returns the tenant's weight.</summary>
    /// <param name="id">The generation.</param>
    /// <param name="evaluations">Evaluations that it was charged.</param>
    /// <param name="day">The day that they were charged to.</param>
    [Alias("Confirm")]
    Task<TenantWeight> ConfirmAsync(GenerationId id, int evaluations, long day);

    /// <summary>
    /// A generation has ended or did not start after all; unused evaluations are refunded. Idempotent.
    /// </summary>
    /// <param name="id">The generation.</param>
    /// <param name="computed">Evaluations actually computed for it.</param>
    [Alias("Settle")]
    Task SettleAsync(GenerationId id, int computed);
}

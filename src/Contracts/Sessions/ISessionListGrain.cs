namespace Atelier.Contracts.Sessions;

/// <summary>
/// A partition of a tenant's sessions, by the hash of their ids; the grain's key is the tenant, a slash and the
/// partition's number.
/// </summary>
[Alias("atelier.ISessionListGrain")]
public interface ISessionListGrain : IGrainWithStringKey
{
    /// <summary>Number of partitions of a tenant's list.</summary>
    const int Parts = 32;

    /// <summary>
    /// Maximum number of sessions in a partition, so that its state stays below 64 KiB with names of 64 characters.
    /// </summary>
    const int SizeMax = 800;

    /// <summary>
    /// Adds a session. Returns the number of sessions in the partition afterwards, or null if that would exceed
    /// <paramref name="max"/>.
    /// </summary>
    [Alias("Add")]
    Task<int?> AddAsync(SessionId session, int max);

    /// <summary>
    /// Removes a session if it is listed. Returns the number of sessions in the partition afterwards.
    /// </summary>
    [Alias("Remove")]
    Task<int> RemoveAsync(SessionId session);

    /// <summary>The sessions in the partition.</summary>
    [Alias("Read")]
    Task<SessionId[]> ReadAsync();
}

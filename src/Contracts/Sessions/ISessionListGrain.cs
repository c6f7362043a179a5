namespace Atelier.Contracts.Sessions;

/// <summary>
/// A part of a tenant's sessions, by the hash of their ids; its key is the tenant, a slash and the part's number.
/// </summary>
[Alias("atelier.ISessionListGrain")]
public interface ISessionListGrain : IGrainWithStringKey
{
    /// <summary>Parts of a tenant's list.</summary>
    const int Parts = 32;

    /// <summary>Most sessions in a part: names of 64 characters stay below 64 KiB.</summary>
    const int SizeMax = 800;

    /// <summary>Adds a session; gives how many the part has then, or none if that would be more than it may.</summary>
    [Alias("Add")]
    Task<int?> AddAsync(SessionId session, int max);

    /// <summary>Removes a session, if it is there; gives how many the part has then.</summary>
    [Alias("Remove")]
    Task<int> RemoveAsync(SessionId session);

    /// <summary>The sessions in the part.</summary>
    [Alias("Read")]
    Task<SessionId[]> ReadAsync();
}

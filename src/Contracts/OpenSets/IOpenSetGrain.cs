// The open set: generations that were accepted and have not ended, in partitions. It is the one list from which all
// work is recovered after a crash.
namespace Atelier.Contracts.OpenSets;

/// <summary>A partition of the open set; the grain's key is the partition's number.</summary>
[Alias("atelier.IOpenSetGrain")]
public interface IOpenSetGrain : IGrainWithIntegerKey
{
    /// <summary>
    /// Maximum number of ids in a partition, so that its state stays below 64 KiB with keys of 129 characters.
    /// </summary>
    const int SizeMax = 480;

    /// <summary>Adds a generation whose blobs are not all released. Returns false if the partition is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(GenerationKey generation);

    /// <summary>
    /// Adds a generation before it is accepted. Returns the hour of the retention clock, or null if the partition is
    /// full.
    /// </summary>
    [Alias("Enter")]
    Task<long?> EnterAsync(GenerationKey generation);

    /// <summary>Removes a generation that has ended.</summary>
    [Alias("Remove")]
    Task RemoveAsync(GenerationKey generation);

    /// <summary>Lists a session, so that it is deleted when its retention time is over.</summary>
    [Alias("File")]
    Task FileAsync(SessionKey session);

    /// <summary>
    /// Asks every generation in the partition to check that its work is queued. Generations that are not open anymore
    /// are removed.
    /// </summary>
    [Alias("Walk")]
    Task WalkAsync();

    /// <summary>The ids of a tenant's generations in the partition.</summary>
    [Alias("Of")]
    Task<GenerationId[]> OfAsync(TenantId tenant);
}

/// <summary>The distribution of the open set over its partitions.</summary>
/// <param name="Key">
/// Key of the hash that chooses partitions. It is made once for each cluster, so that clients cannot choose ids that
/// all fall into one partition.
/// </param>
/// <param name="Partitions">The largest number of partitions so far. Any of these may hold ids.</param>
[GenerateSerializer, Immutable, Alias("atelier.OpenSetLayout")]
public sealed record OpenSetLayout([property: Id(0)] byte[] Key, [property: Id(1)] int Partitions);

/// <summary>Stores the open set's layout; the grain's key is 0.</summary>
[Alias("atelier.IOpenSetLayoutGrain")]
public interface IOpenSetLayoutGrain : IGrainWithIntegerKey
{
    /// <summary>Returns the layout, after it is stored.</summary>
    /// <param name="partitions">Number of partitions over which the caller spreads ids.</param>
    [Alias("Read")]
    Task<OpenSetLayout> ReadAsync(int partitions);
}

/// <summary>
/// A page of generations that ended in one hour, and of sessions, which are deleted when their retention time is over.
/// The key is the hour of the partition's retention clock, the partition and the page, separated by slashes.
/// </summary>
[Alias("atelier.IEndedListGrain")]
public interface IEndedListGrain : IGrainWithStringKey
{
    /// <summary>
    /// Maximum number of ids on a page, so that its state stays below 64 KiB with keys of 129 characters.
    /// </summary>
    const int SizeMax = 480;

    /// <summary>Adds a generation unless it is on the page already. Returns false if the page is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(GenerationKey generation);

    /// <summary>Adds a session unless it is on the page already. Returns false if the page is full.</summary>
    [Alias("AddSession")]
    Task<bool> AddSessionAsync(SessionKey session);

    /// <summary>Number of ids on the page.</summary>
    [Alias("Count")]
    Task<int> CountAsync();

    /// <summary>
    /// Asks the generations and sessions on the page to delete themselves. Returns true once the page is empty.
    /// </summary>
    /// <param name="now">The current hour of the partition's retention clock.</param>
    [Alias("Sweep")]
    Task<bool> SweepAsync(long now);
}

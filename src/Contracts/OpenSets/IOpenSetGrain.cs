// What was accepted and has not ended, in partitions: the one list from which everything is found again after any
// death.
namespace Atelier.Contracts.OpenSets;

/// <summary>A partition of the open set; its key is its number.</summary>
[Alias("atelier.IOpenSetGrain")]
public interface IOpenSetGrain : IGrainWithIntegerKey
{
    /// <summary>Most ids in a partition: keys of 129 characters stay below 64 KiB.</summary>
    const int SizeMax = 480;

    /// <summary>Adds a generation whose blobs are not all released; false if the partition is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(GenerationKey generation);

    /// <summary>
    /// Adds a generation, before it is accepted; gives the hour of the retention clock, or none if the partition is
    /// full.
    /// </summary>
    [Alias("Enter")]
    Task<long?> EnterAsync(GenerationKey generation);

    /// <summary>Removes a generation that has ended.</summary>
    [Alias("Remove")]
    Task RemoveAsync(GenerationKey generation);

    /// <summary>Lists a session, so that it is forgotten one day.</summary>
    [Alias("File")]
    Task FileAsync(SessionKey session);

    /// <summary>Asks every generation in it to see to its work; those that are not open are dropped.</summary>
    [Alias("Walk")]
    Task WalkAsync();

    /// <summary>The ids of one tenant that it holds.</summary>
    [Alias("Of")]
    Task<GenerationId[]> OfAsync(TenantId tenant);
}

/// <summary>How the open set is spread over its partitions.</summary>
/// <param name="Key">
/// The key of the hash by which partitions are chosen: it is made once for a cluster, so that nobody outside can choose
/// ids that meet in one partition.
/// </param>
/// <param name="Partitions">The most partitions that there ever were: all that may hold anything.</param>
[GenerateSerializer, Immutable, Alias("atelier.OpenSetLayout")]
public sealed record OpenSetLayout([property: Id(0)] byte[] Key, [property: Id(1)] int Partitions);

/// <summary>Keeps the open set's layout; its key is 0.</summary>
[Alias("atelier.IOpenSetLayoutGrain")]
public interface IOpenSetLayoutGrain : IGrainWithIntegerKey
{
    /// <summary>The layout; it is stored before it is given.</summary>
    /// <param name="partitions">Partitions that the caller spreads ids over.</param>
    [Alias("Read")]
    Task<OpenSetLayout> ReadAsync(int partitions);
}

/// <summary>
/// Generations that ended in one hour, to be forgotten when their retention time is over, and sessions; its key is the
/// hour of the partition's retention clock, the partition and a page, with slashes between.
/// </summary>
[Alias("atelier.IEndedListGrain")]
public interface IEndedListGrain : IGrainWithStringKey
{
    /// <summary>Most ids on a page: keys of 129 characters stay below 64 KiB.</summary>
    const int SizeMax = 480;

    /// <summary>Adds a generation, if it is not there; false if the page is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(GenerationKey generation);

    /// <summary>Adds a session, if it is not there; false if the page is full.</summary>
    [Alias("AddSession")]
    Task<bool> AddSessionAsync(SessionKey session);

    /// <summary>How many there are on the page.</summary>
    [Alias("Count")]
    Task<int> CountAsync();

    /// <summary>Has its generations and sessions forget themselves; true once none is left on the page.</summary>
    /// <param name="now">The hour of the partition's retention clock.</param>
    [Alias("Sweep")]
    Task<bool> SweepAsync(long now);
}

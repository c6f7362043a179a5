// What was accepted and has not ended, in partitions: the one list from which everything is found again after any death.
namespace Atelier.Contracts;

/// <summary>A partition of the open set; its key is its number.</summary>
[Alias("atelier.IOpenSetGrain")]
public interface IOpenSetGrain : IGrainWithIntegerKey
{
    /// <summary>Most ids in a partition: keys of 129 characters stay below 64 KiB.</summary>
    const int SizeMax = 480;

    /// <summary>Adds a generation, before it is accepted; false if the partition is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(GenerationKey generation);

    /// <summary>Removes a generation that has ended.</summary>
    [Alias("Remove")]
    Task RemoveAsync(GenerationKey generation);

    /// <summary>Asks every generation in it to see to its work; those that are not open are dropped.</summary>
    [Alias("Walk")]
    Task WalkAsync();

    /// <summary>How many ids it holds.</summary>
    [Alias("Count")]
    Task<int> CountAsync();
}

namespace Atelier.Contracts.Tenants;

/// <summary>A partition of the list of tenants; the grain's key is 0 to <see cref="Partitions"/> - 1.</summary>
[Alias("atelier.ITenantListGrain")]
public interface ITenantListGrain : IGrainWithIntegerKey
{
    /// <summary>Number of partitions of the list.</summary>
    const int Partitions = 64;

    /// <summary>
    /// Maximum number of tenants in a partition, so that its state stays below 64 KiB with names of 64 characters.
    /// </summary>
    const int SizeMax = 800;

    /// <summary>Adds a tenant. Returns false if the partition is full.</summary>
    [Alias("Add")]
    Task<bool> AddAsync(TenantId tenant);

    /// <summary>The tenants in the partition.</summary>
    [Alias("Read")]
    Task<TenantId[]> ReadAsync();
}

/// <summary>The partitioning of the list of tenants.</summary>
public static class TenantList
{
    /// <summary>The partition of the list that a tenant is in: the key of its <see cref="ITenantListGrain"/>.</summary>
    public static int PartOf(TenantId tenant) => StableParts.Of($"{tenant}/", ITenantListGrain.Partitions);
}

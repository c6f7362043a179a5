namespace Atelier.Contracts.Tenants;

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

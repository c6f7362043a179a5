// The list of tenants.
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Placement;

namespace Atelier.Grains.Tenants;

/// <summary>The stored state of a partition of the list of tenants.</summary>
[GenerateSerializer, Alias("atelier.state.TenantList")]
internal sealed class TenantListState
{
    /// <summary>Names of the tenants.</summary>
    [Id(0)]
    public HashSet<string> Names { get; set; } = [];
}

/// <summary>A partition of the list of tenants.</summary>
[GrainType("tenantlist")]
[ControlSilo]
internal sealed class TenantListGrain([PersistentState("tenants")] IPersistentState<TenantListState> state)
    : Grain, ITenantListGrain
{
    public async Task<bool> AddAsync(TenantId tenant)
    {
        if (state.State.Names.Contains(tenant.Value))
        {
            return true;
        }

        if (state.State.Names.Count >= ITenantListGrain.SizeMax)
        {
            return false;
        }

        state.State.Names.Add(tenant.Value);
        await state.WriteOrDeactivateAsync(this);

        return true;
    }

    public Task<TenantId[]> ReadAsync() => Task.FromResult<TenantId[]>(
        [.. state.State.Names.Order(StringComparer.Ordinal).Select(name => new TenantId(name))]);
}

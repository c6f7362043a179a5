// Whose a stored state is: the store counts what each tenant keeps.
namespace Atelier.Silo.Store;

/// <summary>Finds the tenant of a state.</summary>
internal static class StateOwners
{
    // Grains whose keys are a tenant, or begin with a tenant and a slash.
    private static readonly HashSet<string> s_types =
        new(StringComparer.Ordinal)
        {
            "generation", "session", "sessionpage", "sessionlist", "recentrequests", "tenant",
        };

    /// <summary>The tenant whose state a grain's is; null for what all tenants share.</summary>
    public static string? TenantOf(GrainId grain)
    {
        string key = grain.Key.ToString() ?? "";
        int slash = key.IndexOf('/', StringComparison.Ordinal);
        return s_types.Contains(grain.Type.ToString() ?? "") ? slash < 0 ? key : key[..slash] : null;
    }
}

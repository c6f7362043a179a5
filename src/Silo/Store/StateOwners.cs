// The owners of stored states, by which the store counts the bytes of each tenant.
namespace Atelier.Silo.Store;

/// <summary>Finds the tenant that owns a state.</summary>
internal static class StateOwners
{
    // Types of grains whose key is a tenant, or begins with a tenant and a slash.
    private static readonly HashSet<string> s_types =
        new(StringComparer.Ordinal)
        {
            "generation", "session", "sessionpage", "sessionlist", "recentrequests", "tenant",
        };

    /// <summary>The tenant that owns a grain's state; null if all tenants share it.</summary>
    public static string? TenantOf(GrainId grain)
    {
        string key = grain.Key.ToString() ?? "";
        int slash = key.IndexOf('/', StringComparison.Ordinal);
        return s_types.Contains(grain.Type.ToString() ?? "") ? slash < 0 ? key : key[..slash] : null;
    }
}

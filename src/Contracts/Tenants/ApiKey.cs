// API keys. A key contains its tenant's id, so that the verifier knows which tenant to ask; the rest is random.
using System.Security.Cryptography;
using System.Text;

namespace Atelier.Contracts.Tenants;

/// <summary>The format of keys: "atl_", the tenant, '_', and 43 characters of 256 random bits in base64url.</summary>
public static class ApiKey
{
    private const string Prefix = "atl_";
    private const int SecretLength = 43;

    /// <summary>Creates a key. It is shown once; only its hash is kept.</summary>
    public static string New(TenantId tenant) =>
        $"{Prefix}{tenant}_{System.Buffers.Text.Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32))}";

    /// <summary>Reads the tenant id in a key. Only the tenant's grain knows whether the key is valid.</summary>
    public static bool TryParse(string? key, out TenantId tenant)
    {
        tenant = default;
        int end = (key?.Length ?? 0) - SecretLength - 1;
        return end > Prefix.Length && key!.StartsWith(Prefix, StringComparison.Ordinal) && key[end] == '_'
            && key.AsSpan(end + 1).IndexOfAnyExcept(s_base64Url) < 0
                && TenantId.TryParse(key[Prefix.Length..end], out tenant);
    }

    /// <summary>SHA-256 of a key, lower-case hexadecimal: the form that is stored and compared.</summary>
    public static string HashOf(string key) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)));

    private static readonly System.Buffers.SearchValues<char> s_base64Url =
        System.Buffers.SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
}

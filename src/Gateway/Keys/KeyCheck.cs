// Who calls. A key names its tenant, and the tenant is asked on every request: a key that was revoked a moment ago is
// refused now.
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Hosting;
using Atelier.Gateway.Routing;

namespace Atelier.Gateway.Keys;

/// <summary>Checks keys.</summary>
internal sealed class KeyCheck
{
    /// <summary>Most characters of a key.</summary>
    public const int LengthMax = 256;

    private const string Scheme = "Bearer";

    private readonly IClusterView _cluster;
    private readonly byte[]? _adminDigest;

    public KeyCheck(IClusterView cluster, GatewaySettings settings) =>
        (_cluster, _adminDigest) = (cluster, settings.AdminKey is { } key ? DigestOf(key) : null);

    /// <summary>Lets requests with a good key through, with their caller, and those on routes that need none.</summary>
    public async Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        string? key = KeyOf(context.Request);
        context.Request.Headers.Authorization = default;
        if (Routes.Is(context, Routes.Open))
        {
            await next(context);
            return;
        }

        Caller? caller;
        try
        {
            caller = await CallerAsync(key, context.RequestAborted);
        }
        catch (ClusterUnavailableException)
        {
            await GatewayError.NoCluster.WriteAsync(context);
            return;
        }

        if (caller is not { } known)
        {
            await GatewayError.NoKey.WriteAsync(context);
            return;
        }

        context.Features.Set(new CallerFeature(known));
        await next(context);
    }

    private async Task<Caller?> CallerAsync(string? key, CancellationToken cancellation)
    {
        if (key is null)
        {
            return null;
        }

        if (_adminDigest is not null && CryptographicOperations.FixedTimeEquals(DigestOf(key), _adminDigest))
        {
            return new Caller(null, IsAdmin: true);
        }

        return ApiKey.TryParse(key, out TenantId tenant) && await _cluster.HasKeyAsync(tenant, ApiKey.HashOf(key), cancellation)
            ? new Caller(tenant, IsAdmin: false)
            : null;
    }

    // One header of one key: two of them are nobody's.
    private static string? KeyOf(HttpRequest request) =>
        request.Headers.Authorization is [{ Length: <= LengthMax + 16 } text]
        && AuthenticationHeaderValue.TryParse(text, out AuthenticationHeaderValue? value)
        && string.Equals(value.Scheme, Scheme, StringComparison.OrdinalIgnoreCase)
        && value.Parameter is { Length: > 0 and <= LengthMax } key
            ? key
            : null;

    private static byte[] DigestOf(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}

/// <summary>The caller of a request.</summary>
/// <param name="Caller">Who calls.</param>
internal sealed record CallerFeature(Caller Caller);

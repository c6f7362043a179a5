// Authentication of callers. A key contains its tenant's name, and the gateway asks the tenant's grain on every
// request, so a revoked key is refused at once. A key that this gateway has not seen yet is looked up first.
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Routing;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Keys;

/// <summary>Checks the API keys of requests.</summary>
internal sealed class KeyCheck
{
    private const string Scheme = "Bearer";

    private readonly IClusterView _cluster;
    private readonly KnownKeys _known;
    private readonly byte[]? _adminDigest;

    public KeyCheck(IClusterView cluster, KnownKeys known, GatewaySettings settings) =>
        (_cluster, _known, _adminDigest) = (cluster, known, settings.AdminKey is { } key ? DigestOf(key) : null);

    /// <summary>
    /// Passes on requests with a valid key, after adding their <see cref="CallerFeature"/>, and requests on routes that
    /// need no key. Refuses all others.
    /// </summary>
    public async Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        string? key = KeyOf(context.Request);
        context.Request.Headers.Authorization = default;
        if (Routes.Is(context, Routes.Open))
        {
            await next(context);
            return;
        }

        GatewayError? refusal;
        try
        {
            refusal = await IdentifyAsync(key, context);
        }
        catch (ClusterUnavailableException)
        {
            refusal = GatewayError.NoCluster;
        }

        await (refusal is null ? next(context) : refusal.WriteAsync(context));
    }

    // Sets the caller if the key is valid and returns null; otherwise returns the refusal.
    private async Task<GatewayError?> IdentifyAsync(string? key, HttpContext context)
    {
        if (key is null)
        {
            return GatewayError.NoKey;
        }

        if (_adminDigest is not null && CryptographicOperations.FixedTimeEquals(DigestOf(key), _adminDigest))
        {
            context.Features.Set(new CallerFeature(new Caller(null, IsAdmin: true)));
            return null;
        }

        if (!ApiKey.TryParse(key, out TenantId tenant))
        {
            return GatewayError.NoKey;
        }

        GatewayError? refusal = await RefusalAsync(tenant, ApiKey.HashOf(key), context.RequestAborted);
        if (refusal is null)
        {
            context.Features.Set(new CallerFeature(new Caller(tenant, IsAdmin: false)));
        }

        return refusal;
    }

    private async Task<GatewayError?> RefusalAsync(TenantId tenant, string hash, CancellationToken cancellation)
    {
        if (!_known.Has(tenant, hash))
        {
            return await _known.FindAsync(tenant, hash, cancellation) switch
            {
                KeyLookup.Found => null,
                KeyLookup.Refused => GatewayError.TooManyUnknownKeys,
                _ => GatewayError.NoKey,
            };
        }

        if (await _cluster.HasKeyAsync(tenant, hash, cancellation))
        {
            return null;
        }

        _known.Forget(tenant, hash);
        return GatewayError.NoKey;
    }

    // The key, if the request has exactly one Authorization header with exactly one key; otherwise null.
    private static string? KeyOf(HttpRequest request) =>
        request.Headers.Authorization is [{ Length: <= GatewaySettings.KeyLengthMax + 16 } text]
        && AuthenticationHeaderValue.TryParse(text, out AuthenticationHeaderValue? value)
        && string.Equals(value.Scheme, Scheme, StringComparison.OrdinalIgnoreCase)
        && value.Parameter is { Length: > 0 and <= GatewaySettings.KeyLengthMax } key
            ? key
            : null;

    private static byte[] DigestOf(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}

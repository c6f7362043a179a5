// Keeps one tenant from filling this gateway. It is a rough guard in the memory of one process; what a tenant may do in
// all is counted by the tenant's grain.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Hosting;
using Atelier.Gateway.Keys;

namespace Atelier.Gateway.Limits;

/// <summary>A bucket of tokens a tenant.</summary>
internal sealed class TenantRates(GatewaySettings settings, TimeProvider clock)
{
    private const int TenantsMax = 10_000;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Bucket> _buckets = new(StringComparer.Ordinal);

    /// <summary>Lets a request through if its tenant has a token left; open routes have no tenant to count for.</summary>
    public Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (context.Features.Get<CallerFeature>() is not { } caller || TryTake(caller.Caller, out TimeSpan wait))
        {
            return next(context);
        }

        IHeaderDictionary headers = context.Response.Headers;
        headers["x-ratelimit-limit-requests"] = settings.RequestsBurst.ToString(CultureInfo.InvariantCulture);
        headers["x-ratelimit-remaining-requests"] = "0";
        headers["x-ratelimit-reset-requests"] = $"{Math.Ceiling(wait.TotalMilliseconds).ToString(CultureInfo.InvariantCulture)}ms";
        return GatewayError.TooMany(wait).WriteAsync(context);
    }

    private bool TryTake(Caller caller, out TimeSpan wait)
    {
        string name = caller.Tenant?.Value ?? "";
        long now = clock.GetTimestamp();
        lock (_lock)
        {
            double tokens = Tokens(_buckets.GetValueOrDefault(name, new Bucket(settings.RequestsBurst, now)), now);
            wait = TimeSpan.FromSeconds(Math.Max(0, 1 - tokens) / settings.RequestsPerSecond);
            if (tokens < 1)
            {
                return false;
            }

            if (_buckets.Count >= TenantsMax)
            {
                ForgetTheFull(now);
            }

            _buckets[name] = new Bucket(tokens - 1, now);
            return true;
        }
    }

    // A full bucket says no more than none.
    private void ForgetTheFull(long now)
    {
        foreach ((string name, Bucket bucket) in _buckets)
        {
            if (Tokens(bucket, now) >= settings.RequestsBurst)
            {
                _buckets.Remove(name);
            }
        }
    }

    private double Tokens(Bucket bucket, long now) => Math.Min(
        settings.RequestsBurst, bucket.Tokens + (clock.GetElapsedTime(bucket.At, now).TotalSeconds * settings.RequestsPerSecond));

    private readonly record struct Bucket(double Tokens, long At);
}

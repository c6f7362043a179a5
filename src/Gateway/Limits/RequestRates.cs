// Rate limits that keep one tenant, or one address without a key, from overloading this gateway. They are rough and in
// this process only; the tenant's grain enforces the limits across the cluster.
using System.Globalization;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Limits;

/// <summary>A token bucket for each tenant, and for each address on routes that need no key.</summary>
internal sealed class RequestRates(GatewaySettings settings, TimeProvider clock)
{
    private const int BucketsMax = 10_000;

    // The shared bucket of all that come after the table is full.
    private const string Others = "others";

    private static readonly TimeSpan s_sweepPause = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Bucket> _buckets = new(StringComparer.Ordinal);
    private long _sweptAt = clock.GetTimestamp();

    /// <summary>Passes a request on if its tenant or address has a token left.</summary>
    public Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (NameOf(context) is not { } name || TryTake(name, out TimeSpan wait))
        {
            return next(context);
        }

        IHeaderDictionary headers = context.Response.Headers;
        headers["x-ratelimit-limit-requests"] = settings.RequestsBurst.ToString(CultureInfo.InvariantCulture);
        headers["x-ratelimit-remaining-requests"] = "0";
        headers["x-ratelimit-reset-requests"] =
            $"{Math.Ceiling(wait.TotalMilliseconds).ToString(CultureInfo.InvariantCulture)}ms";
        return GatewayError.TooMany(wait).WriteAsync(context);
    }

    // Null if all clients have the address of a load balancer, which distinguishes nothing.
    private string? NameOf(HttpContext context) =>
        context.Features.Get<CallerFeature>() is { } caller ? caller.Caller.Tenant?.Value ?? ""
        : settings.AddressBound > 0 ? $"address {ClientAddress.Of(context.Connection.RemoteIpAddress)}"
        : null;

    private bool TryTake(string name, out TimeSpan wait)
    {
        long now = clock.GetTimestamp();
        lock (_lock)
        {
            if (_buckets.Count >= BucketsMax && !_buckets.ContainsKey(name))
            {
                RemoveFullBuckets(now);
                name = _buckets.Count < BucketsMax ? name : Others;
            }

            double tokens = Tokens(_buckets.GetValueOrDefault(name, new Bucket(settings.RequestsBurst, now)), now);
            wait = TimeSpan.FromSeconds(Math.Max(0, 1 - tokens) / settings.RequestsPerSecond);
            if (tokens < 1)
            {
                return false;
            }

            _buckets[name] = new Bucket(tokens - 1, now);
            return true;
        }
    }

    // A full bucket is equivalent to an absent one.
    private void RemoveFullBuckets(long now)
    {
        if (clock.GetElapsedTime(_sweptAt, now) < s_sweepPause)
        {
            return;
        }

        _sweptAt = now;
        foreach ((string name, Bucket bucket) in _buckets)
        {
            if (Tokens(bucket, now) >= settings.RequestsBurst)
            {
                _buckets.Remove(name);
            }
        }
    }

    private double Tokens(Bucket bucket, long now) => Math.Min(
        settings.RequestsBurst,
        bucket.Tokens + (clock.GetElapsedTime(bucket.At, now).TotalSeconds * settings.RequestsPerSecond));

    private readonly record struct Bucket(double Tokens, long At);
}

// Rate limits that keep one tenant, or one address without a key, from overloading this gateway. They are approximate
// and apply to this process only; the tenant's grain enforces the limits across the cluster.
using System.Globalization;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Limits;

/// <summary>
/// Token buckets. Each tenant has one. On routes that need no key, each address has one, or all clients together have
/// one if they share an address.
/// </summary>
internal sealed class RequestRates(GatewaySettings settings, TimeProvider clock)
{
    private const int BucketsMax = 10_000;

    // The bucket shared by all callers that get no bucket of their own because the table is full.
    private const string Others = "others";

    // The bucket of all clients without a key, used if addresses do not distinguish them. Cannot be the name of a
    // tenant, because tenant names contain no white space.
    private const string Keyless = "without a key";

    private const int KeylessBurstSeconds = 2;

    private static readonly TimeSpan s_sweepPause = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Bucket> _buckets = new(StringComparer.Ordinal);
    private long _sweptAt = clock.GetTimestamp();

    /// <summary>Passes a request on if its tenant or address has a token left.</summary>
    public Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        string name = NameOf(context);
        Rate rate = RateOf(name);
        if (TryTake(name, rate, out TimeSpan wait))
        {
            return next(context);
        }

        IHeaderDictionary headers = context.Response.Headers;
        headers["x-ratelimit-limit-requests"] = rate.Burst.ToString(CultureInfo.InvariantCulture);
        headers["x-ratelimit-remaining-requests"] = "0";
        headers["x-ratelimit-reset-requests"] =
            $"{Math.Ceiling(wait.TotalMilliseconds).ToString(CultureInfo.InvariantCulture)}ms";
        return GatewayError.TooMany(wait).WriteAsync(context);
    }

    // On loopback, and behind a load balancer, all clients may have the same address.
    private string NameOf(HttpContext context) =>
        context.Features.Get<CallerFeature>() is { } caller ? caller.Caller.Tenant?.Value ?? ""
        : settings.AddressBound > 0 ? $"address {ClientAddress.Of(context.Connection.RemoteIpAddress)}"
        : Keyless;

    private Rate RateOf(string name) => name == Keyless
        ? new Rate(settings.KeylessPerSecond, KeylessBurstSeconds * settings.KeylessPerSecond)
        : new Rate(settings.RequestsPerSecond, settings.RequestsBurst);

    private bool TryTake(string name, Rate rate, out TimeSpan wait)
    {
        long now = clock.GetTimestamp();
        lock (_lock)
        {
            if (_buckets.Count >= BucketsMax && name != Keyless && !_buckets.ContainsKey(name))
            {
                RemoveFullBuckets(now);
                name = _buckets.Count < BucketsMax ? name : Others;
            }

            double tokens = Tokens(_buckets.GetValueOrDefault(name, new Bucket(rate.Burst, now)), rate, now);
            wait = TimeSpan.FromSeconds(Math.Max(0, 1 - tokens) / rate.PerSecond);
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
            Rate rate = RateOf(name);
            if (Tokens(bucket, rate, now) >= rate.Burst)
            {
                _buckets.Remove(name);
            }
        }
    }

    private double Tokens(Bucket bucket, Rate rate, long now) => Math.Min(
        rate.Burst, bucket.Tokens + (clock.GetElapsedTime(bucket.At, now).TotalSeconds * rate.PerSecond));

    private readonly record struct Rate(int PerSecond, int Burst);

    private readonly record struct Bucket(double Tokens, long At);
}

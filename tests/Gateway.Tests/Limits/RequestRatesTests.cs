// Goal: each tenant has a bucket of requests, and so has each address without a key; full buckets are forgotten, so
// that names cannot fill the memory. Method: the middleware alone, with a manual clock.
using System.Net;
using System.Text;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Limits;
using Atelier.Gateway.Settings;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Limits;

public sealed class RequestRatesTests
{
    // As many names have a bucket of their own.
    private const int NamesMax = 10_000;

    private readonly ManualClock _clock = new();

    [Fact]
    public async Task ATenant_HasItsBurst_AndThenItsRate()
    {
        RequestRates rates = Of(burst: 3, perSecond: 2);
        Assert.Equal("+++-", await TryAsync(rates, "alice", 4));
        Assert.Equal("+", await TryAsync(rates, "bob", 1));
        _clock.Advance(TimeSpan.FromSeconds(0.5));
        Assert.Equal("+-", await TryAsync(rates, "alice", 2));

        // Idle time earns no more than the burst.
        _clock.Advance(TimeSpan.FromHours(1));
        Assert.Equal("+++-", await TryAsync(rates, "alice", 4));
    }

    [Fact]
    public async Task ARefusal_SaysWhenToComeBack()
    {
        RequestRates rates = Of(burst: 1, perSecond: 2);
        await TryAsync(rates, "alice", 1);
        _clock.Advance(TimeSpan.FromSeconds(0.2));
        HttpContext context = Tenant("alice");
        await rates.CheckAsync(context, _ => throw new InvalidOperationException("It was let through."));
        Assert.Equal(StatusCodes.Status429TooManyRequests, context.Response.StatusCode);
        Assert.Equal("1", context.Response.Headers["x-ratelimit-limit-requests"]);
        Assert.Equal("0", context.Response.Headers["x-ratelimit-remaining-requests"]);
        Assert.Equal("300ms", context.Response.Headers["x-ratelimit-reset-requests"]);
        Assert.Equal("1", context.Response.Headers.RetryAfter);
    }

    [Fact]
    public async Task AnAddressWithoutAKey_HasTheRateOfATenant()
    {
        RequestRates rates = Of(burst: 2, perSecond: 1, perAddress: 5);
        Assert.Equal("++-", await TryAsync(rates, "192.0.2.1", 3, Address));
        Assert.Equal("+", await TryAsync(rates, "192.0.2.2", 1, Address));
    }

    // All clients may have the address of a load balancer.
    [Fact]
    public async Task WhereAddressesSayNothing_AllWithoutAKeyHaveOneRate()
    {
        RequestRates rates = Of(burst: 2, perSecond: 1, perAddress: 0);
        Assert.Equal("++++", await TryAsync(rates, "192.0.2.1", 4, Address));
        Assert.Equal("++-", await TryAsync(rates, "192.0.2.2", 3, Address));
        Assert.Equal("+", await TryAsync(rates, "alice", 1));
        HttpContext refused = Address("192.0.2.3");
        await rates.CheckAsync(refused, _ => throw new InvalidOperationException("It was let through."));
        Assert.Equal("6", refused.Response.Headers["x-ratelimit-limit-requests"]);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("+++-", await TryAsync(rates, "192.0.2.1", 4, Address));
    }

    [Fact]
    public async Task NamesBeyondTheBound_ShareABucket_UntilFullOnesAreForgotten()
    {
        RequestRates rates = Of(burst: 2, perSecond: 1);
        for (int i = 0; i < NamesMax; i++)
        {
            Assert.True(await TryAsync(rates, Tenant($"t{i}")));
        }

        // There is no room: these two have one bucket. The one that is known keeps its own.
        Assert.Equal("+", await TryAsync(rates, "one", 1));
        Assert.Equal("+", await TryAsync(rates, "two", 1));
        Assert.Equal("-", await TryAsync(rates, "three", 1));
        Assert.Equal("+-", await TryAsync(rates, "t0", 2));

        // After a second all but one bucket are full again, so they are forgotten and there is room.
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("++-", await TryAsync(rates, "three", 3));
        Assert.Equal("++-", await TryAsync(rates, "four", 3));
        Assert.Equal("+-", await TryAsync(rates, "t0", 2));
    }

    private RequestRates Of(int burst, int perSecond, int perAddress = 0) => new(
        new GatewaySettings
        {
            RequestsBurst = burst, RequestsPerSecond = perSecond, ConnectionsPerAddress = perAddress,
            KeylessPerSecond = 3,
        },
        _clock);

    // A + for each request that was let through, a - for each that was refused.
    private static async Task<string> TryAsync(
        RequestRates rates, string name, int times, Func<string, HttpContext>? client = null)
    {
        var passed = new StringBuilder();
        for (int i = 0; i < times; i++)
        {
            passed.Append(await TryAsync(rates, (client ?? Tenant)(name)) ? '+' : '-');
        }

        return passed.ToString();
    }

    private static async Task<bool> TryAsync(RequestRates rates, HttpContext context)
    {
        bool passed = false;
        await rates.CheckAsync(context, _ =>
        {
            passed = true;
            return Task.CompletedTask;
        });
        return passed;
    }

    private static DefaultHttpContext Tenant(string tenant)
    {
        var context = new DefaultHttpContext();
        context.Features.Set(new CallerFeature(new Caller(new TenantId(tenant), IsAdmin: false)));
        return context;
    }

    private static DefaultHttpContext Address(string address)
    {
        var context = new DefaultHttpContext();
        context.Connection.RemoteIpAddress = IPAddress.Parse(address);
        return context;
    }
}

// Goal: clients that send invented keys cost the cluster next to nothing and lock nobody out. Method: more unknown keys
// than are looked up, a clock that stands still, and a cluster that counts its calls.
using System.Collections.Concurrent;
using System.Net;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Keys;
using Atelier.Gateway.Settings;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Gateway.Tests.Keys;

public sealed class UnknownKeyTests
{
    private static readonly GatewaySettings s_two = new() { UnknownKeysPerSecond = 2 };

    [Fact]
    public async Task AKeyOfAnUnknownTenant_CallsNoTenant()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        gateway.Cluster.NewKey("alice");
        for (int i = 0; i < 50; i++)
        {
            using HttpClient client = gateway.Client(ApiKey.New(new TenantId($"invented-{i}")));
            Assert.Equal("invalid_api_key", await (await client.GetAsync("/v1/models")).ErrorAsync(401));
        }

        Assert.Empty(gateway.Cluster.Called);
        Assert.Equal(0, silo.Count);
    }

    [Fact]
    public async Task BeyondTheRate_UnknownKeysAreRefusedAlike_AndGoodOnesServed()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(s_two, silo.Endpoint);
        using HttpClient alice = gateway.Tenant("alice");
        Assert.Equal(HttpStatusCode.OK, (await alice.GetAsync("/v1/models")).StatusCode);
        await DrainAsync(gateway, tenant: "invented");
        int before = gateway.Cluster.Calls;
        var messages = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < 100; i++)
        {
            using HttpClient client = gateway.Client(ApiKey.New(new TenantId(i % 2 == 0 ? "alice" : "invented")));
            using HttpResponseMessage refused = await client.GetAsync("/v1/models");
            messages.Add(await refused.Content.ReadAsStringAsync());
            Assert.Equal("too_many_unknown_keys", await refused.ErrorAsync(429));
            Assert.Equal("1", Assert.Single(refused.Headers.GetValues("Retry-After")));
        }

        Assert.Single(messages);
        Assert.InRange(gateway.Cluster.Calls - before, 0, 2);
        Assert.Equal(HttpStatusCode.OK, (await alice.GetAsync("/v1/models")).StatusCode);

        // As time passes, keys are looked up again.
        gateway.Clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(
            "invalid_api_key", await (await Wrong(gateway, "invented").GetAsync("/v1/models")).ErrorAsync(401));
    }

    // The clock stands still, so no key is looked up on request, and yet the newcomer is found.
    [Theory]
    [InlineData("alice")]
    [InlineData("newcomer")]
    [InlineData("alice~1")]
    public async Task AKeyThatIsMadeMeanwhile_IsFound(string tenant)
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(s_two, silo.Endpoint);
        gateway.Cluster.NewKey("alice");
        await DrainAsync(gateway, tenant: "invented");
        using HttpClient client = gateway.Tenant(tenant);
        HttpStatusCode status = HttpStatusCode.TooManyRequests;
        for (int tries = 0; tries < 1000 && status == HttpStatusCode.TooManyRequests; tries++)
        {
            status = (await client.GetAsync("/v1/models")).StatusCode;
        }

        Assert.Equal(HttpStatusCode.OK, status);
    }

    [Fact]
    public async Task ValidKeys_AreNotLimited()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(s_two, silo.Endpoint);
        for (int i = 0; i < 50; i++)
        {
            using HttpClient client = gateway.Tenant(i % 2 == 0 ? $"tenant-{i}" : $"reopened~{i}");
            Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        }
    }

    [Fact]
    public async Task AFlood_CostsOneLogLineInTenSeconds_WithTheCount()
    {
        var (clock, log) = (new ManualClock(), new Lines());
        var known = new KnownKeys(new FakeCluster(), s_two, clock, log);
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        for (int i = 0; i < 1000; i++)
        {
            await known.FindAsync(new TenantId($"t{i % 3}"), "hash", cancellation);
        }

        Assert.Equal("1", Assert.Single(log).Split(" requests", 2)[0].Split(' ')[^1]);
        clock.Advance(TimeSpan.FromSeconds(10));
        for (int i = 0; i < 1000; i++)
        {
            await known.FindAsync(new TenantId($"t{i % 3}"), "hash", cancellation);
        }

        Assert.Equal(2, log.Count);
        Assert.Contains(" 990 requests", log.Last(), StringComparison.Ordinal);
    }

    // The cluster was asked for them too.
    [Theory]
    [InlineData("alice")]
    [InlineData("invented")]
    public async Task ALookup_WhoseClientDisconnects_IsPaidFor(string tenant)
    {
        var cluster = new FakeCluster();
        cluster.NewKey("alice");
        var known = new KnownKeys(cluster, s_two, new ManualClock(), new Lines());
        cluster.Answers = new TaskCompletionSource().Task;
        for (int i = 0; i < 10; i++)
        {
            using var leave = new CancellationTokenSource();
            Task<KeyLookup> lookup = known.FindAsync(new TenantId(tenant), "hash", leave.Token);
            await leave.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => lookup);
        }

        cluster.Answers = Task.CompletedTask;
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        Assert.Equal(KeyLookup.Refused, await known.FindAsync(new TenantId(tenant), "hash", cancellation));
    }

    [Fact]
    public async Task ALookup_ThatTheClusterDoesNotAnswer_IsFree()
    {
        var cluster = new FakeCluster { IsAway = true };
        var known = new KnownKeys(cluster, s_two, new ManualClock(), new Lines());
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        for (int i = 0; i < 20; i++)
        {
            await Assert.ThrowsAsync<ClusterUnavailableException>(
                () => known.FindAsync(new TenantId("alice"), "hash", cancellation));
        }

        cluster.IsAway = false;
        Assert.Equal(KeyLookup.Unknown, await known.FindAsync(new TenantId("alice"), "hash", cancellation));
    }

    private static async Task DrainAsync(TestGateway gateway, string tenant)
    {
        while ((await Wrong(gateway, tenant).GetAsync("/v1/models")).StatusCode != HttpStatusCode.TooManyRequests)
        {
        }
    }

    private static HttpClient Wrong(TestGateway gateway, string tenant) =>
        gateway.Client(ApiKey.New(new TenantId(tenant)));

    private sealed class Lines : ConcurrentQueue<string>, ILogger<KnownKeys>
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?,
            string> formatter) =>
            Enqueue(formatter(state, exception));
    }
}

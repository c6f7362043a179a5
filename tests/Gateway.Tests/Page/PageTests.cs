// Goal: the page, health and settings are served and correct. Method: a gateway without any silo.
using System.Net;
using System.Net.Http.Headers;
using Atelier.Configuration;
using Atelier.Gateway.Hosting;
using Atelier.Gateway.Settings;
using Atelier.Grains.Tests;
using Microsoft.Extensions.Configuration;
using Xunit;

namespace Atelier.Gateway.Tests.Page;

public sealed class PageTests
{
    [Theory]
    [InlineData("/", "text/html")]
    [InlineData("/app.js", "text/javascript")]
    [InlineData("/style.css", "text/css")]
    public async Task ThePage_LoadsNothingFromElsewhere(string path, string type)
    {
        await using TestGateway gateway = await TestGateway.StartAsync();
        using HttpClient client = gateway.Client(null);
        using HttpResponseMessage answer = await client.GetAsync(path);
        string text = await answer.Content.ReadAsStringAsync();
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal(type, answer.Content.Headers.ContentType!.MediaType);
        Assert.StartsWith(
            "default-src 'none';", Assert.Single(answer.Headers.GetValues("Content-Security-Policy")),
            StringComparison.Ordinal);
        Assert.Equal("nosniff", Assert.Single(answer.Headers.GetValues("X-Content-Type-Options")));
        Assert.Equal("no-referrer", Assert.Single(answer.Headers.GetValues("Referrer-Policy")));
        Assert.NotEmpty(answer.Headers.GetValues("x-request-id"));
        Assert.DoesNotContain("https://", text, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("innerHTML", text, StringComparison.Ordinal);

        using var again = new HttpRequestMessage(HttpMethod.Get, path);
        again.Headers.IfNoneMatch.Add(new EntityTagHeaderValue(answer.Headers.ETag!.Tag));
        Assert.Equal(HttpStatusCode.NotModified, (await client.SendAsync(again)).StatusCode);
        using var head = new HttpRequestMessage(HttpMethod.Head, path);
        Assert.Equal(HttpStatusCode.OK, (await client.SendAsync(head)).StatusCode);
    }

    // A silo's page may have its own policy.
    [Fact]
    public async Task EveryAnswer_HasAContentPolicy_AndCannotBeFramed()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Tenant();
        foreach (string path in new[]
        {
            "/", "/docs/", "/openapi/v1.json", "/v1/models", "/v1/pictures/x", "/nothing", "/v1/a%2fb", "/health/live",
        })
        {
            using HttpResponseMessage answer = await client.GetAsync(path);
            string rules = Assert.Single(answer.Headers.GetValues("Content-Security-Policy"));
            Assert.Contains("default-src 'none'", rules, StringComparison.Ordinal);
            Assert.Contains("frame-ancestors 'none'", rules, StringComparison.Ordinal);
        }

        silo.Handler = context =>
        {
            context.Response.Headers.ContentSecurityPolicy = "its own";
            return Task.CompletedTask;
        };
        Assert.Equal(
            "its own", Assert.Single((await client.GetAsync("/docs/")).Headers.GetValues("Content-Security-Policy")));
    }

    [Fact]
    public async Task AGateway_IsReadyOnceASiloIsKnown()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync();
        using HttpClient client = gateway.Client(null);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/health/live")).StatusCode);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await client.GetAsync("/health/ready")).StatusCode);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await client.GetAsync("/health/started")).StatusCode);
        await gateway.RouteToAsync(silo.Endpoint);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/health/ready")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/health/started")).StatusCode);
        Assert.Equal(0, silo.Count);

        // What has started stays started.
        await gateway.RouteToAsync();
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await client.GetAsync("/health/ready")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/health/started")).StatusCode);
    }

    [Fact]
    public async Task Metrics_AreOnAPortOfTheirOwn_OutOfClientsReach()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        int port = new Uri(BareSilo.Nobody().Address).Port;
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { ConnectionsMax = 1 }, metrics => metrics.Port = port, silo.Endpoint);
        using HttpClient client = gateway.Tenant(), inner = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Assert.Equal("unknown_url", await (await client.GetAsync("/metrics")).ErrorAsync(404));
        client.DefaultRequestHeaders.Host = $"127.0.0.1:{port}";
        Assert.Equal("unknown_url", await (await client.GetAsync("/metrics")).ErrorAsync(404));
        Assert.Contains("dotnet_", await inner.GetStringAsync("/metrics"), StringComparison.Ordinal);

        // Nothing else is served there, and health is a single word. Clients do not use up its connections.
        foreach (string path in new[] { "/v1/models", "/", "/docs" })
        {
            Assert.NotEqual(HttpStatusCode.OK, (await inner.GetAsync(path)).StatusCode);
        }

        var silent = new TaskCompletionSource();
        silo.Handler = _ => silent.Task;
        Task<HttpResponseMessage> busy = client.GetAsync("/v1/models");
        Assert.Equal("Healthy", await inner.GetStringAsync("/health/live"));
        Assert.Equal("Healthy", await inner.GetStringAsync("/health/ready"));
        Assert.Equal("Healthy", await inner.GetStringAsync("/health/started"));
        silent.SetResult();
        await busy;
    }

    [Fact]
    public void Settings_NameAllFaultsAndRepeatNoSecret()
    {
        IConfiguration wrong = Configuration(
            ("Gateway:Port", "70000"), ("Gateway:Address", "localhost"), ("Gateway:AdminKey", "short-secret"),
            ("Gateway:RequestsPerSecond", "0"),
            ("Gateway:ShutdownTimeout", "soon"), ("Metrics:Address", "here"), ("Metrics:Port", "-1"),
            ("Cluster:Secret", "c2VjcmV0"), ("Store:Redis", ""));
        string message = Assert.Throws<InvalidConfigurationException>(() => GatewayHost.ReadOptions(wrong)).Message;
        Assert.All(
            [
                "Gateway:Port", "Gateway:Address", "Gateway:AdminKey", "Gateway:RequestsPerSecond",
                "Gateway:ShutdownTimeout",
                "Metrics:Address", "Metrics:Port", "Cluster:Secret", "Store:Redis",
            ],
            name => Assert.Contains(name, message, StringComparison.Ordinal));
        Assert.DoesNotContain("short-secret", message, StringComparison.Ordinal);
        Assert.DoesNotContain("c2VjcmV0", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Settings_AreReadWithTheirDefaults()
    {
        string secret = Convert.ToBase64String(new byte[32]);
        GatewaySettings settings = Read(("Cluster:Secret", secret), ("Store:Redis", "127.0.0.1:6379,password=x"));
        Assert.Equal(new GatewaySettings { Secret = secret, Redis = "127.0.0.1:6379,password=x" }, settings);
        Assert.Equal("x", settings.StoreOptions()!.Password);
    }

    [Fact]
    public void Silos_AreNamedWhereThereIsNoRedis_AndOnlyThere()
    {
        (string, string) secret = ("Cluster:Secret", Convert.ToBase64String(new byte[32]));
        GatewaySettings settings = Read(secret, ("Cluster:Silos:0", "127.0.0.1:30000"));
        Assert.Null(settings.StoreOptions());
        Assert.Equal(30000, Assert.Single(settings.SiloEndpoints()).Port);
        foreach ((string, string)[] wrong in new (string, string)[][]
        {
            [], [("Store:Redis", "127.0.0.1:1"), ("Cluster:Silos:0", "127.0.0.1:30000")],
            [("Cluster:Silos:0", "localhost:1")],
            [("Cluster:Silos:0", "127.0.0.1")],
        })
        {
            string message = Assert.Throws<InvalidConfigurationException>(() => Read([secret, .. wrong])).Message;
            Assert.Contains("Cluster:Silos", message, StringComparison.Ordinal);
        }
    }

    // A silo that reports that it is not ready, one that does not answer, and one that is ready again.
    [Fact]
    public async Task AGateway_IsAsReadyAsItsSilos()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        using HttpClient client = gateway.Client(null);
        await BecomesAsync(client, HttpStatusCode.OK);
        silo.Ready = context =>
        {
            context.Response.StatusCode = 503;
            return Task.CompletedTask;
        };
        await BecomesAsync(client, HttpStatusCode.ServiceUnavailable);
        silo.Ready = null;
        await BecomesAsync(client, HttpStatusCode.OK);
        silo.Ready = context => Task.Delay(Timeout.InfiniteTimeSpan, context.RequestAborted);
        await BecomesAsync(client, HttpStatusCode.ServiceUnavailable);
    }

    private static Task BecomesAsync(HttpClient client, HttpStatusCode status) => Eventually.TrueAsync(async () =>
        (await client.GetAsync("/health/ready", TestContext.Current.CancellationToken)).StatusCode == status);

    private static IConfiguration Configuration(params (string Key, string Value)[] values) =>
        new ConfigurationBuilder()
            .AddInMemoryCollection(values.ToDictionary(pair => pair.Key, pair => (string?)pair.Value)).Build();

    private static GatewaySettings Read(params (string Key, string Value)[] values) =>
        GatewayHost.ReadOptions(Configuration(values)).Get<GatewaySettings>();
}

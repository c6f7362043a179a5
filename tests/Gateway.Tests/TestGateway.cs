// A gateway on a loopback port, in front of silos that the test provides.
using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Cluster;
using Atelier.Gateway.Hosting;
using Atelier.Gateway.Routing;
using Atelier.Gateway.Settings;
using Atelier.Grains.Tests.Telemetry;
using Atelier.ServiceDefaults;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Xunit;
using Yarp.ReverseProxy;

namespace Atelier.Gateway.Tests;

/// <summary>A gateway under test.</summary>
internal sealed class TestGateway : IAsyncDisposable
{
    public const string AdminKey = "an-admin-key-of-the-tests-0123456789";

    public static readonly byte[] Secret = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];

    private readonly WebApplication _app;

    private TestGateway(WebApplication app, FakeCluster cluster, ManualClock clock) =>
        (_app, Cluster, Clock) = (app, cluster, clock);

    public FakeCluster Cluster { get; }

    public ManualClock Clock { get; }

    public required LogKeeper Log { get; init; }

    public IMeterFactory Meters => _app.Services.GetRequiredService<IMeterFactory>();

    public Uri Url => new(_app.Urls.First());

    public Tickets Tickets => _app.Services.GetRequiredService<Tickets>();

    public IProxyStateLookup Proxy => _app.Services.GetRequiredService<IProxyStateLookup>();

    public static async Task<TestGateway> StartAsync(params SiloEndpoint[] silos) =>
        await StartAsync(new GatewaySettings(), silos);

    public static Task<TestGateway> StartAsync(GatewaySettings settings, params SiloEndpoint[] silos) =>
        StartAsync(settings, _ => { }, silos);

    public static async Task<TestGateway> StartAsync(
        GatewaySettings settings, Action<MetricsListener> metrics, params SiloEndpoint[] silos)
    {
        WebApplicationBuilder builder = WebApplication.CreateBuilder();
        var log = new LogKeeper();
        builder.Logging.ClearProviders().AddProvider(log);
        var (cluster, clock) = (new FakeCluster(), new ManualClock());
        var listener = new MetricsListener();
        metrics(listener);
        GatewayHost.Configure(builder, settings with
        {
            Port = 0,
            Secret = Convert.ToBase64String(Secret),
            AdminKey = settings.AdminKey ?? AdminKey,
        }, listener);
        builder.Services.AddSingleton<IClusterView>(cluster);
        builder.Services.AddSingleton<TimeProvider>(clock);
        builder.Services.AddSingleton(new Tickets(Secret, clock));
        var gateway = new TestGateway(builder.Build(), cluster, clock) { Log = log };
        GatewayHost.Map(gateway._app);
        await gateway._app.StartAsync();
        await gateway.RouteToAsync(silos);
        return gateway;
    }

    /// <summary>Sets the cluster's silos and waits until the proxy knows them.</summary>
    public async Task RouteToAsync(params SiloEndpoint[] silos)
    {
        Cluster.Silos = silos;
        await RefreshAsync();
        string[] wanted = [.. silos.Select(silo => silo.Name).Order()];
        while (!Proxy.GetClusters().All(cluster => cluster.Destinations.Keys.Order().SequenceEqual(wanted)))
        {
            await Task.Yield();
        }
    }

    public Task<bool> RefreshAsync() =>
        _app.Services.GetRequiredService<RouteUpdater>().RefreshAsync(TestContext.Current.CancellationToken);

    public Task StopAsync() => _app.StopAsync();

    /// <summary>A client with a key; null sends none.</summary>
    public HttpClient Client(string? key)
    {
        var client = new HttpClient { BaseAddress = Url };
        client.DefaultRequestHeaders.Authorization = key is null ? null : new AuthenticationHeaderValue("Bearer", key);
        return client;
    }

    /// <summary>A client of a tenant, with a new key.</summary>
    public HttpClient Tenant(string tenant = "alice") => Client(Cluster.NewKey(tenant));

    /// <summary>The caller, according to what a silo received.</summary>
    public Caller CallerOf(Received received)
    {
        Assert.True(Tickets.TryRead(
            received.Headers[Tickets.Header], received.Method, received.Target, out Caller caller,
            Encoding.UTF8.GetBytes(received.Body)));
        return caller;
    }

    /// <summary>Sends raw bytes and reads the answer to its end.</summary>
    public Task<string> RawAsync(string request, bool halfClose = false) =>
        RawAsync(Encoding.Latin1.GetBytes(request), halfClose);

    /// <summary>Sends raw bytes and reads the answer to its end.</summary>
    public async Task<string> RawAsync(byte[] request, bool halfClose = false)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(Url.Host, Url.Port);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(request);
        if (halfClose)
        {
            client.Client.Shutdown(SocketShutdown.Send);
        }

        // A connection may be cut after the answer if the request was not read to its end.
        using var answer = new MemoryStream();
        try
        {
            await stream.CopyToAsync(answer);
        }
        catch (IOException)
        {
            // What arrived before the error is the answer.
        }

        return Encoding.UTF8.GetString(answer.ToArray());
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}

/// <summary>Asserts the common properties of answers.</summary>
internal static class AnswerExtensions
{
    public static async Task<Received> ReceivedAsync(this HttpResponseMessage answer)
    {
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Received received = (await answer.Content.ReadFromJsonAsync<Received>(JsonSerializerOptions.Default))!;
        return received with
        {
            Headers = new Dictionary<string, string>(received.Headers, StringComparer.OrdinalIgnoreCase),
        };
    }

    /// <summary>The error's code, after its shape was checked.</summary>
    public static async Task<string> ErrorAsync(this HttpResponseMessage answer, int status)
    {
        Assert.Equal(status, (int)answer.StatusCode);
        Assert.StartsWith("req_", Assert.Single(answer.Headers.GetValues("x-request-id")), StringComparison.Ordinal);
        return ErrorCode(await answer.Content.ReadAsStringAsync());
    }

    public static string ErrorCode(string body)
    {
        JsonObject error = JsonNode.Parse(body)!["error"]!.AsObject();
        Assert.Equal(["message", "type", "param", "code"], error.Select(member => member.Key));
        Assert.NotEmpty(error["message"]!.GetValue<string>());
        return error["code"]!.GetValue<string>();
    }
}

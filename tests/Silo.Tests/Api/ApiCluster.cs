// The API over a cluster in one process with small real networks, served on a loopback port; and clients that sign
// their calls as the gateway does.
using System.Net;
using System.Text;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Hosting;
using Atelier.Grains.Ports;
using Atelier.Grains.Workers;
using Atelier.Silo.Api;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Tests.Devices;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Runtime.MembershipService.SiloMetadata;
using Orleans.TestingHost;
using Xunit;

namespace Atelier.Silo.Tests.Api;

[CollectionDefinition(nameof(ApiCluster))]
public sealed class ApiCollection : ICollectionFixture<ApiCluster>;

/// <summary>One cluster for all tests of the API; each test has its own tenant.</summary>
public sealed class ApiCluster : IAsyncLifetime
{
    internal static readonly byte[] Secret = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    internal static readonly DeviceModel Default = TinyModels.First with
    {
        Card = TinyModels.First.Card with { IsDefault = true, Aliases = ["gpt-image-1", "dall-e-3"] },
    };

    /// <summary>Models that the device can load.</summary>
    internal DeviceModel[] Models { get; init; } = [Default, TinyModels.Second];

    /// <summary>Further services and settings of the silo.</summary>
    internal Action<IServiceCollection> Configure { get; init; } = _ => { };

    /// <summary>Further services of the API.</summary>
    internal Action<IServiceCollection> ConfigureApi { get; init; } = _ => { };

    /// <summary>Whether calls between grains are parts of traces.</summary>
    internal bool IsTraced { get; init; }

    private readonly string _folder = Directory.CreateTempSubdirectory("api").FullName;
    private InProcessTestCluster _cluster = null!;
    private WebApplication _app = null!;

    internal static Tickets Tickets { get; } = new(Secret, TimeProvider.System);

    internal HeldDevice Device { get; private set; } = null!;

    internal IGrainFactory Grains => _cluster.Client;

    internal Uri Address { get; private set; } = null!;

    internal static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var builder = new InProcessTestClusterBuilder(1);
        builder.ConfigureSilo((_, silo) =>
        {
            silo.AddMemoryStorage();
            if (IsTraced)
            {
                silo.AddActivityPropagation();
            }

            silo.UseInMemoryReminderService();
            silo.UseSiloMetadata(new Dictionary<string, string>
            {
                [IClusterGrain.AddressMetadata] = "http://127.0.0.1:1", [IClusterGrain.DevicesMetadata] = "cpu",
            });
            silo.AddAtelierGrains();
            silo.Configure<WorkerOptions>(worker =>
            {
                worker.SnapshotPeriod = TimeSpan.Zero;
                worker.OnFault = error => Assert.Fail(error.ToString());
            });
            silo.Services.AddSingleton<IBlobStore>(Blobs());
            Configure(silo.Services);
            var device = new TorchDeviceOptions { Slots = 4 };
            silo.Services.AddSingleton(
                services => DeviceLane.Of(device, services.GetRequiredService<TimeProvider>()));
            silo.Services.AddSingleton<IDeviceHost>(services => Device = new HeldDevice(new TorchDeviceHost(
                Models, device, services.GetRequiredService<DeviceLane>())));
        });
        if (IsTraced)
        {
            builder.ConfigureClient(client => client.AddActivityPropagation());
        }

        _cluster = builder.Build();
        await _cluster.DeployAsync();
        Assert.True(await Grains.GetGrain<IModelCatalogGrain>(0).RegisterAsync(Models[0].Card));
        _app = await ServeAsync(Grains, Blobs(), ConfigureApi);
        Address = new Uri(_app.Urls.Single());
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>The API over these grains on a free port.</summary>
    internal static async Task<WebApplication> ServeAsync(
        IGrainFactory grains, IBlobStore blobs, Action<IServiceCollection>? configure = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = RequestBody.BytesMax;
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        builder.Services.AddRouting();
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton(grains);
        builder.Services.AddSingleton(blobs);
        builder.Services.AddSingleton(Tickets);
        builder.Services.AddAtelierApi();
        configure?.Invoke(builder.Services);
        WebApplication app = builder.Build();
        app.MapAtelierApi();
        await app.StartAsync(Cancellation);
        return app;
    }

    internal IBlobStore Blobs(TimeProvider? clock = null) =>
        new FolderBlobStore(new FolderBlobStoreOptions { Folder = _folder }, clock ?? TimeProvider.System);

    /// <summary>A client of an existing tenant.</summary>
    internal async Task<HttpClient> ClientAsync(string tenant, TenantSettings? settings = null)
    {
        TenantAnswer answer = await Grains.GetGrain<ITenantGrain>(tenant).PutAsync(
            settings ?? new TenantSettings { RequestsPerMinute = 100_000 });
        Assert.NotNull(answer.View);
        return As(new Caller(new TenantId(tenant), IsAdmin: false));
    }

    internal HttpClient Admin() => As(new Caller(null, IsAdmin: true));

    internal HttpClient As(Caller? caller) =>
        new(new SigningHandler(caller)) { BaseAddress = Address, Timeout = TimeSpan.FromMinutes(2) };

    /// <summary>Signs calls as the gateway does.</summary>
    private sealed class SigningHandler(Caller? caller) : DelegatingHandler(new SocketsHttpHandler())
    {
        protected override async Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (caller is { } one)
            {
                byte[] body = request.Content is null
                    ? []
                    : await request.Content.ReadAsByteArrayAsync(cancellationToken);
                request.Headers.Add(
                    Tickets.Header, Tickets.Sign(one, request.Method.Method, request.RequestUri!.PathAndQuery, body));
            }

            return await base.SendAsync(request, cancellationToken);
        }
    }
}

/// <summary>A device whose evaluations wait while a test blocks them.</summary>
internal sealed class HeldDevice(TorchDeviceHost device) : IDeviceHost, IOffersModels, IDisposable
{
    private volatile TaskCompletionSource _gate = Opened();
    private int _allowed;

    public DeviceDescription Description => device.Description;

    public void Offer(IReadOnlyList<DeviceModel> models) => device.Offer(models);

    /// <summary>Lets this many evaluations pass, and then none until it is released.</summary>
    public IDisposable HoldAfter(int evaluations)
    {
        _allowed = evaluations;
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _gate = gate;
        return new Release(this, gate);
    }

    public async Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation)
    {
        if (Interlocked.Decrement(ref _allowed) < 0)
        {
            await _gate.Task.WaitAsync(cancellation);
        }

        await device.EvaluateAsync(batch, cancellation);
    }

    public Task LoadAsync(ModelDigest model, CancellationToken cancellation) => device.LoadAsync(model, cancellation);

    public Task EvictAsync(ModelDigest model, CancellationToken cancellation) => device.EvictAsync(model, cancellation);

    public Task ProbeAsync(CancellationToken cancellation) => device.ProbeAsync(cancellation);

    public Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation) =>
        device.EncodeAsync(spec, cancellation);

    public Task<EncodedPrompts?> CountAsync(GenerationSpec spec, CancellationToken cancellation) =>
        device.CountAsync(spec, cancellation);

    public Task<IDenoising> BeginAsync(
        GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation) =>
        device.BeginAsync(spec, caption, snapshot, cancellation);

    public Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation) =>
        device.PreviewAsync(spec, picture, cancellation);

    public Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation) =>
        device.DecodeAsync(spec, latent, cancellation);

    public void Dispose() => device.Dispose();

    private static TaskCompletionSource Opened()
    {
        var open = new TaskCompletionSource();
        open.SetResult();
        return open;
    }

    private sealed class Release(HeldDevice held, TaskCompletionSource gate) : IDisposable
    {
        public void Dispose()
        {
            held._gate = Opened();
            gate.TrySetResult();
        }
    }
}

#pragma warning disable VSTHRD003 // Calls are read where they are awaited.
/// <summary>The tests' requests to the API.</summary>
internal static class ApiCalls
{
    public const string Images = "/v1/images/generations";

    public static HttpContent Json(string json) => new StringContent(json, Encoding.UTF8, "application/json");

    public static Task<HttpResponseMessage> SendAsync(
        this HttpClient client, HttpMethod method, string path, string? json = null,
        params (string Name, string Value)[] headers)
    {
        var request = new HttpRequestMessage(method, path) { Content = json is null ? null : Json(json) };
        foreach ((string name, string value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        return client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, ApiCluster.Cancellation);
    }

    /// <summary>The JSON of an answer with the expected status.</summary>
    public static async Task<JsonElement> JsonAsync(
        this Task<HttpResponseMessage> answer, HttpStatusCode status = HttpStatusCode.OK)
    {
        using HttpResponseMessage response = await answer;
        string body = await response.Content.ReadAsStringAsync(ApiCluster.Cancellation);
        Assert.True(response.StatusCode == status, $"{(int)response.StatusCode}: {body}");
        Assert.Equal("application/json", response.Content.Headers.ContentType?.MediaType);
        return JsonDocument.Parse(body).RootElement;
    }

    /// <summary>The error of an answer, in the common shape.</summary>
    public static async Task<(string Code, string? Param, string Message)> ErrorAsync(
        this Task<HttpResponseMessage> answer, HttpStatusCode status)
    {
        Assert.NotEmpty(Assert.Single((await answer).Headers.GetValues("x-request-id")));
        JsonElement error =
            Assert.Single((await answer.JsonAsync(status)).EnumerateObject(), member => member.Name == "error").Value;
        Assert.Equal(["message", "type", "param", "code"], error.EnumerateObject().Select(member => member.Name));
        Assert.NotEmpty(error.GetProperty("type").GetString()!);
        return (error.GetProperty("code").GetString()!, error.GetProperty("param").GetString(),
            error.GetProperty("message").GetString()!);
    }

    public static string Text(this JsonElement element, string member) => element.GetProperty(member).GetString()!;

    /// <summary>The events of a stream, to its end.</summary>
    public static async Task<List<SentEvent>> EventsAsync(this Task<HttpResponseMessage> answer)
    {
        using HttpResponseMessage response = await answer;
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var events = new List<SentEvent>();
        await foreach (SentEvent one in response.ReadEventsAsync())
        {
            events.Add(one);
        }

        return events;
    }

    /// <summary>The events of a stream as they arrive.</summary>
    public static async IAsyncEnumerable<SentEvent> ReadEventsAsync(this HttpResponseMessage response)
    {
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(ApiCluster.Cancellation));
        var fields = new Dictionary<string, string>();
        while (await reader.ReadLineAsync(ApiCluster.Cancellation) is { } line)
        {
            if (line.Length > 0 && line[0] != ':')
            {
                string[] parts = line.Split(": ", 2);
                fields.Add(parts[0], parts[1]);
            }
            else if (line.Length == 0 && fields.Count > 0)
            {
                yield return new SentEvent(
                    fields["event"], fields.GetValueOrDefault("id"), JsonDocument.Parse(fields["data"]).RootElement);
                fields.Clear();
            }
        }
    }
}

#pragma warning restore VSTHRD003

/// <summary>An event that was received.</summary>
internal sealed record SentEvent(string Name, string? Id, JsonElement Data);

// A cluster of one silo whose grains do what their keys say.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Atelier.Gateway.Tests.Cluster;

/// <summary>A silo on loopback ports, which may be started again.</summary>
internal sealed class StubCluster : IAsyncDisposable
{
    private readonly int _port = FreePort();
    private IHost? _host;

    public int GatewayPort { get; } = FreePort();

    /// <summary>Another secret that the silo accepts.</summary>
    public byte[]? Accepted { get; init; }

    public async Task StartAsync()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Logging.ClearProviders();
        builder.UseOrleans(silo =>
        {
            silo.UseLocalhostClustering(_port, GatewayPort, null, "stub", "stub");
            silo.UseClusterTransport(TestGateway.Secret, Accepted);
        });
        _host = builder.Build();
        await _host.StartAsync();
    }

    public async Task StopAsync()
    {
        if (_host is { } host)
        {
            _host = null;
            await host.StopAsync();
            host.Dispose();
        }
    }

    public async ValueTask DisposeAsync() => await StopAsync();

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}

/// <summary>
/// Tenants: "alice" has the key "hash"; "twice" fails at the first call; "broken" fails at every call; "slow" answers
/// when it is released; all others do not exist.
/// </summary>
internal sealed class StubTenantGrain : Grain, ITenantGrain
{
    /// <summary>Calls of each tenant so far.</summary>
    public static ConcurrentDictionary<string, int> Calls { get; } = new(StringComparer.Ordinal);

    /// <summary>The trace of the last call of each tenant; null without one.</summary>
    public static ConcurrentDictionary<string, string?> Traces { get; } = new(StringComparer.Ordinal);

    public static TaskCompletionSource Released { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public async Task<bool> HasKeyAsync(string hash)
    {
        string key = this.GetPrimaryKeyString();
        Traces[key] = RequestContext.Get("traceparent") as string;
        int calls = Calls.AddOrUpdate(key, 1, (_, count) => count + 1);
        if (key == "broken" || (key == "twice" && calls == 1))
        {
            throw new InvalidOperationException("This tenant fails.");
        }

        if (key == "slow")
        {
            await Released.Task;
        }

        return key is "alice" or "twice" && hash == "hash";
    }

    public Task<TenantView?> ViewAsync() => Task.FromResult(this.GetPrimaryKeyString() == "alice"
        ? new TenantView
        {
            Id = new TenantId("alice"), Settings = new TenantSettings(),
            Keys = [new TenantKey("laptop", "hash", default), new TenantKey("server", "other", default)],
        }
        : null);

    public Task<TenantAnswer> PutAsync(TenantSettings settings) => throw new NotSupportedException();

    public Task<TenantAnswer> AddKeyAsync(string label, string hash) => throw new NotSupportedException();

    public Task<TenantAnswer> RevokeKeyAsync(string hash) => throw new NotSupportedException();

    public Task CloseAsync() => throw new NotSupportedException();

    public Task<bool> IsClosedAsync() => throw new NotSupportedException();

    public Task<Admission> AdmitAsync(GenerationId id, int evaluations) => throw new NotSupportedException();

    public Task<Admission> AdmitSessionAsync(SessionId id, bool begun) => throw new NotSupportedException();

    public Task EndSessionAsync(SessionId id) => throw new NotSupportedException();

    public Task<TenantWeight> ConfirmAsync(GenerationId id, int evaluations, long day) =>
        throw new NotSupportedException();

    public Task SettleAsync(GenerationId id, int computed) => throw new NotSupportedException();
}

/// <summary>The list of tenants: each part has one that is named after it.</summary>
internal sealed class StubTenantListGrain : Grain, ITenantListGrain
{
    public Task<bool> AddAsync(TenantId tenant) => throw new NotSupportedException();

    public Task<TenantId[]> ReadAsync() =>
        Task.FromResult<TenantId[]>([new TenantId($"tenant-{this.GetPrimaryKeyLong()}")]);
}

/// <summary>The cluster of one silo.</summary>
internal sealed class StubClusterGrain : Grain, IClusterGrain
{
    public Task<SiloEndpoint[]> SilosAsync() => Task.FromResult<SiloEndpoint[]>([new("one", "http://127.0.0.1:1")]);

    public Task<WorkerStatus[]> WorkersAsync() => throw new NotSupportedException();
}

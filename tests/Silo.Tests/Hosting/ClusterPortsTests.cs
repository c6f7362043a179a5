// Goal: a silo's Orleans ports serve callers that know the cluster's secret, and others can neither call a grain nor
// exhaust the silo. Method: a real silo, attacked by Orleans clients and by plain sockets.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.ServiceDefaults;
using Atelier.Silo.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class ClusterPortsTests(ClusterPortsTests.RunningSilo silo) : IClassFixture<ClusterPortsTests.RunningSilo>
{
    private static readonly byte[] s_secret = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly byte[] s_otherSecret = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AClientThatKnowsTheSecret_IsServed()
    {
        TenantAnswer answer =
            await AddKeyAsync(silo.ProxyPort, "known", client => client.UseClusterTransport(s_secret));
        Assert.Equal("There is no such tenant, or it was closed.", answer.Message);
        Assert.Contains("known", await silo.TenantsInMemoryAsync());
    }

    // The first one is what any program on the machine could do while the ports were open.
    [Theory]
    [InlineData("plain")]
    [InlineData("without a certificate")]
    [InlineData("with a certificate of its own")]
    [InlineData("with another cluster's secret")]
    public async Task AClientThatDoesNot_IsRefused_AndCostsNoActivation(string who)
    {
        string victim = $"victim-{who.Replace(' ', '-').Replace('\'', '-')}";
        foreach (int port in (int[])[silo.ProxyPort, silo.Port])
        {
            await Assert.ThrowsAnyAsync<Exception>(() => AddKeyAsync(port, victim, client => Disguise(client, who)));
        }

        Assert.DoesNotContain(victim, await silo.TenantsInMemoryAsync());
    }

    // Orleans' client gives up by itself; the silo disconnects a peer that does not.
    [Theory]
    [InlineData(null)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task TheSilo_ClosesAConnection_WhoseCertificateIsNotTheClusters(bool? othersSecret)
    {
        using X509Certificate2? certificate = othersSecret switch
        {
            null => null,
            true => ClusterTransport.CertificateOf(s_otherSecret),
            false => OwnCertificate(),
        };
        foreach (int port in (int[])[silo.ProxyPort, silo.Port])
        {
            using var socket = new TcpClient();
            await socket.ConnectAsync(IPAddress.Loopback, port, Cancellation);
            await using var tls = new SslStream(socket.GetStream());
            int read = await ReadAfterHandshakeAsync(tls, certificate)
                .WaitAsync(TimeSpan.FromSeconds(30), Cancellation);
            Assert.Equal(0, read);
        }
    }

    [Fact]
    public async Task ConnectionsWithoutAHandshake_AreBounded_Brief_AndHardlyLogged()
    {
        int lines = silo.Lines.Count;
        List<TcpClient> idle = [];
        try
        {
            for (int i = 0; i < ClusterTransport.HandshakesMax + 50; i++)
            {
                var socket = new TcpClient();
                idle.Add(socket);
                await socket.ConnectAsync(IPAddress.Loopback, i % 2 == 0 ? silo.ProxyPort : silo.Port, Cancellation);
            }

            // The oldest ones make room.
            await Task.WhenAll(idle.Take(50).Select(EndAsync));
            await AddKeyAsync(silo.ProxyPort, "newcomer", client => client.UseClusterTransport(s_secret));
            await Task.WhenAll(idle.Select(EndAsync));
        }
        finally
        {
            idle.ForEach(socket => socket.Dispose());
        }

        string[] said = [.. silo.Lines.Skip(lines)];
        Assert.True(said.Length <= 4, string.Join('\n', said));
        Assert.Contains(silo.Lines, line => line.Contains("Refused", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Metrics_AreNotOnTheSilosHttpPort_WhateverHostIsAskedFor()
    {
        using var http = new HttpClient();
        Assert.Contains(
            "dotnet_", await http.GetStringAsync($"http://127.0.0.1:{silo.MetricsPort}/metrics", Cancellation),
            StringComparison.Ordinal);
        foreach (int host in (int[])[silo.HttpPort, silo.MetricsPort])
        {
            foreach (string path in (string[])["/metrics", "/metrics/", "/v1/../metrics", "/METRICS"])
            {
                using var request = new HttpRequestMessage(
                    HttpMethod.Get, $"http://127.0.0.1:{silo.HttpPort}{path}");
                request.Headers.Host = $"127.0.0.1:{host}";
                using HttpResponseMessage answer = await http.SendAsync(request, Cancellation);
                Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
            }
        }
    }

    // Processes of different releases must derive the same key. It holds at any time: no clock is involved.
    [Fact]
    public void TheCertificate_IsAFunctionOfTheSecret_ForAllTime()
    {
        using X509Certificate2 one = ClusterTransport.CertificateOf(s_secret);
        using X509Certificate2 again = ClusterTransport.CertificateOf(s_secret);
        using X509Certificate2 other = ClusterTransport.CertificateOf(s_otherSecret);
        Assert.Equal(
            "48905a0e5392a1c1e5bbff154c7f6d141f396e38c192a0eac970ac3d93b90db7",
            Convert.ToHexStringLower(SHA256.HashData(one.PublicKey.ExportSubjectPublicKeyInfo())));
        Assert.Equal(one.GetPublicKey(), again.GetPublicKey());
        Assert.NotEqual(one.GetPublicKey(), other.GetPublicKey());
        Assert.Equal((1970, 9999), (one.NotBefore.Year, one.NotAfter.Year));
    }

    /// <summary>Calls a grain as a gateway does.</summary>
    internal static async Task<TenantAnswer> AddKeyAsync(int port, string tenant, Action<IClientBuilder> secure)
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.UseOrleansClient(client =>
        {
            client.UseStaticClustering(new IPEndPoint(IPAddress.Loopback, port));
            client.Configure<ClusterOptions>(
                options => (options.ClusterId, options.ServiceId) = ("atelier", "atelier"));
            client.Configure<ClientMessagingOptions>(options => options.ResponseTimeout = TimeSpan.FromSeconds(10));
            client.UseConnectionRetryFilter((_, _) => Task.FromResult(false));
            secure(client);
        });
        using IHost host = builder.Build();
        await host.StartAsync(Cancellation);
        try
        {
            return await host.Services.GetRequiredService<IClusterClient>().GetGrain<ITenantGrain>(tenant)
                .AddKeyAsync("not yours", ApiKey.HashOf(ApiKey.New(new TenantId(tenant))));
        }
        finally
        {
            await host.StopAsync(CancellationToken.None);
        }
    }

    private static void Disguise(IClientBuilder client, string who)
    {
        switch (who)
        {
            case "without a certificate":
                client.UseTls(options => options.AllowAnyRemoteCertificate());
                break;
            case "with a certificate of its own":
                client.UseTls(OwnCertificate(), options => options.AllowAnyRemoteCertificate());
                break;
            case "with another cluster's secret":
                client.UseClusterTransport(s_otherSecret);
                break;
            default:
                break;
        }
    }

    private static X509Certificate2 OwnCertificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return new CertificateRequest("CN=atelier", key, HashAlgorithmName.SHA256)
            .CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(1000));
    }

    // 0 once the silo has closed the connection, in any way.
    private static async Task<int> ReadAfterHandshakeAsync(SslStream tls, X509Certificate2? certificate)
    {
        try
        {
            await tls.AuthenticateAsClientAsync(
                new SslClientAuthenticationOptions
                {
                    TargetHost = "atelier", ClientCertificates = certificate is null ? null : [certificate],
                    RemoteCertificateValidationCallback = (_, remote, _, _) => remote is not null,
                },
                Cancellation);
            return await tls.ReadAsync(new byte[1], Cancellation);
        }
        catch (Exception error) when (error is IOException or AuthenticationException)
        {
            return 0;
        }
    }

    private static async Task EndAsync(TcpClient socket)
    {
        try
        {
            Assert.Equal(0, await socket.GetStream().ReadAsync(new byte[1], Cancellation).AsTask().WaitAsync(
                TimeSpan.FromMinutes(1), Cancellation));
        }
        catch (IOException)
        {
            // Disconnected.
        }
    }

    /// <summary>
    /// A silo with production settings and the control role, whose warnings and errors are collected.
    /// </summary>
    public sealed class RunningSilo : IAsyncLifetime, ILoggerProvider, ILogger
    {
        /// <summary>Tests with such silos, which read the process's environment.</summary>
        public const string Serially = "silos that ship";

        private readonly string _folder = Directory.CreateTempSubdirectory("atelier-ports").FullName;
        private readonly TaskCompletionSource<IServiceProvider> _started =
            new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly List<string> _lines = [];
        private Task<int> _run = Task.FromResult(0);
        private IServiceProvider? _services;

        /// <summary>The port for silos.</summary>
        public int Port { get; private set; }

        /// <summary>The port for gateways.</summary>
        public int ProxyPort { get; private set; }

        /// <summary>The port for HTTP.</summary>
        public int HttpPort { get; private set; }

        /// <summary>The port for metrics.</summary>
        public int MetricsPort { get; private set; }

        /// <summary>Environment variables that are there when it starts.</summary>
        internal IReadOnlyDictionary<string, string> Variables { get; init; } = new Dictionary<string, string>();

        /// <summary>Further settings on its command line.</summary>
        internal IReadOnlyList<string> Settings { get; init; } = [];

        /// <summary>Services that are added to its own.</summary>
        internal Action<IServiceCollection>? AddServices { get; init; }

        /// <summary>Its exit code, once it has ended.</summary>
        internal Task<int> Ended => _run.WaitAsync(Timeout.InfiniteTimeSpan);

        internal IGrainFactory Grains => _services!.GetRequiredService<IGrainFactory>();

        /// <summary>What it has logged so far.</summary>
        public IReadOnlyList<string> Lines
        {
            get
            {
                lock (_lines)
                {
                    return [.. _lines];
                }
            }
        }

        public async ValueTask InitializeAsync()
        {
            int[] ports = FreePorts(4);
            (Port, ProxyPort, HttpPort, MetricsPort) = (ports[0], ports[1], ports[2], ports[3]);
            foreach ((string name, string value) in Variables)
            {
                Environment.SetEnvironmentVariable(name, value);
            }

            _run = SiloHost.RunAsync(
                [
                    $"--Silo:Port={Port}", $"--Silo:ProxyPort={ProxyPort}", $"--Silo:HttpPort={HttpPort}",
                    $"--Metrics:Port={MetricsPort}",
                    "--Silo:Name=ports",
                    "--Silo:Roles=control", $"--Cluster:Secret={Convert.ToBase64String(s_secret)}",
                    $"--Store:Folder={Path.Combine(_folder, "store")}",
                    $"--Blobs:Folder={Path.Combine(_folder, "blobs")}", .. Settings,
                ],
                services =>
                {
                    AddServices?.Invoke(services);
                    services.AddSingleton<ILoggerProvider>(this);
                    services.AddHostedService(provider => new StartWatch(
                        provider, provider.GetRequiredService<IHostApplicationLifetime>(), _started));
                });
            _services = await _started.Task.WaitAsync(TimeSpan.FromMinutes(1));
            foreach (string name in Variables.Keys)
            {
                Environment.SetEnvironmentVariable(name, null);
            }
        }

        public async ValueTask DisposeAsync()
        {
            if (!_run.IsCompleted)
            {
                _services?.GetRequiredService<IHostApplicationLifetime>().StopApplication();
            }

            Assert.Equal(0, await _run.WaitAsync(TimeSpan.FromMinutes(1)));
            Directory.Delete(_folder, recursive: true);
        }

        /// <summary>The tenants that have an activation.</summary>
        public async Task<IEnumerable<string>> TenantsInMemoryAsync()
        {
            return (await Grains.GetGrain<IManagementGrain>(0).GetActiveGrains(GrainType.Create("tenant")))
                .Select(grain => grain.Key.ToString()!);
        }

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                lock (_lines)
                {
                    _lines.Add(formatter(state, exception));
                }
            }
        }

        void IDisposable.Dispose()
        {
        }

        internal static int[] FreePorts(int count)
        {
            TcpListener[] listeners =
                [.. Enumerable.Range(0, count).Select(_ => new TcpListener(IPAddress.Loopback, 0))];
            Array.ForEach(listeners, listener => listener.Start());
            int[] ports = [.. listeners.Select(listener => ((IPEndPoint)listener.LocalEndpoint).Port)];
            Array.ForEach(listeners, listener => listener.Stop());
            return ports;
        }

        // Ports are open only once all hosted services have started.
        private sealed class StartWatch(
            IServiceProvider services, IHostApplicationLifetime lifetime,
            TaskCompletionSource<IServiceProvider> started) : IHostedService
        {
            public Task StartAsync(CancellationToken cancellationToken)
            {
                lifetime.ApplicationStarted.Register(() => started.TrySetResult(services));
                return Task.CompletedTask;
            }

            public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
        }
    }
}

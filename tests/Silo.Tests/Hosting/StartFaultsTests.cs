// Goal: a silo that lacks something ends before it joins the cluster, and says what is wrong and what would be right.
// Method: silos as they ship, with a store, a blob account or a model that does not do; none of their services may
// start.
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Atelier.Silo.Hosting;
using Atelier.Silo.Store;
using Atelier.Silo.Tests.Store;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using StackExchange.Redis;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class StartFaultsTests : IDisposable
{
    private const string Key = "c2VjcmV0IG9mIHRoZSBhY2NvdW50";

    private readonly string _folder = Directory.CreateTempSubdirectory("start").FullName;

    private string[] Settings =>
    [
        "--Silo:Roles=control", $"--Cluster:Secret={Convert.ToBase64String(new byte[32])}",
        $"--Store:Folder={_folder}/store", $"--Blobs:Folder={_folder}/blobs",
    ];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task ARedisThatForgets_EndsTheSilo()
    {
        await using var server = new RedisServer();
        await server.StartAsync();
        ConfigurationOptions options = new SiloSettings { Redis = server.Address }.StoreOptions()!;
        options.AllowAdmin = true;
        await using ConnectionMultiplexer connection = await ConnectionMultiplexer.ConnectAsync(options);
        (string Setting, string Wrong, string Right)[] settings =
        [
            ("maxmemory-policy", "allkeys-lru", "noeviction"), ("appendfsync", "no", "always"),
            ("appendonly", "no", "yes"),
        ];
        foreach ((string setting, string wrong, string right) in settings)
        {
            await connection.GetServers()[0].ConfigSetAsync(setting, wrong);
            string error = await RefusalAsync($"--Store:Redis={server.Address}");
            Assert.Contains(
                "it must have appendonly yes, appendfsync always and maxmemory-policy noeviction, but has", error,
                StringComparison.Ordinal);
            Assert.Contains(wrong, error, StringComparison.Ordinal);
            await connection.GetServers()[0].ConfigSetAsync(setting, right);
        }

        // A clock that is wrong by an hour is tolerated, and reported.
        using RedisClusterStore store = await RedisClusterStore.OpenAsync(options, "atelier", new Late());
        Assert.Matches("^This machine's clock is 3[56]\\d\\d s behind the store's", Assert.Single(store.Warnings));
    }

    [Theory]
    [InlineData(401, "InvalidAuthenticationInfo")]
    [InlineData(403, "AuthorizationFailure")]
    public async Task ABlobAccountThatRefuses_EndsTheSilo(int status, string code)
    {
        using HttpListener account = Refusing(status, code, out Uri address);
        string error = await RefusalAsync(
            $"--Blobs:Azure=DefaultEndpointsProtocol=http;AccountName=studio;AccountKey={Key};"
            + $"BlobEndpoint={address}studio");
        Assert.Equal(
            $"atelier: Blobs:Azure: the account {address}studio refuses this process ({status} {code}). It must be a "
            + "connection string with a valid key, or with a shared access signature that may read, write, delete, "
            + "list and create, and the account's firewall must admit it.",
            error.Trim());
    }

    [Fact]
    public async Task ABlobAccountThatDoesNotAnswer_EndsTheSilo()
    {
        string error = await RefusalAsync(
            $"--Blobs:Azure=DefaultEndpointsProtocol=http;AccountName=studio;AccountKey={Key};"
            + "BlobEndpoint=http://127.0.0.1:1/studio",
            "--Blobs:RetriesMax=0");
        Assert.StartsWith(
            "atelier: Blobs:Azure: the account http://127.0.0.1:1/studio cannot be used: ", error,
            StringComparison.Ordinal);
        Assert.DoesNotContain(Key, error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ABlobAccountWithoutAnIdentity_EndsTheSilo() => Assert.StartsWith(
        "atelier: Blobs:Endpoint: the account https://127.0.0.1:1/ cannot be used: ",
        await RefusalAsync("--Blobs:Endpoint=https://127.0.0.1:1"), StringComparison.Ordinal);

    [Theory]
    [InlineData(null, "model.json")]
    [InlineData("{", "model.json")]
    [InlineData("""{"format": 2}""", "only 1 is supported")]
    public async Task AFolderThatIsNotAModel_EndsTheSilo(string? manifest, string reason)
    {
        string folder = Path.Combine(_folder, "model");
        if (manifest is not null)
        {
            Directory.CreateDirectory(folder);
            await File.WriteAllTextAsync(Path.Combine(folder, "model.json"), manifest, Cancellation);
        }

        string error = await RefusalAsync("--Silo:Roles=control,inference", $"--Models:Folders:0={folder}");
        Assert.StartsWith($"atelier: {folder}", error, StringComparison.Ordinal);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    // libtorch is looked for when a process starts, so this takes one.
    [Fact]
    public async Task ASiloWithoutLibtorch_EndsWithOneLine()
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardError = true, UseShellExecute = false };
        foreach (string argument in (string[])
            [Path.Combine(AppContext.BaseDirectory, "Atelier.Silo.dll"), .. Settings,
            "--Silo:Roles=control,inference", $"--Models:Folders:0={_folder}/model"])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["ATELIER_LIBTORCH"] = _folder;
        using Process silo = Process.Start(start)!;
        string error = await silo.StandardError.ReadToEndAsync(Cancellation);
        await silo.WaitForExitAsync(Cancellation);
        Assert.Equal(2, silo.ExitCode);
        Assert.StartsWith(
            $"atelier: ATELIER_LIBTORCH is {_folder}, but that folder has no libtorch_cpu.so", error,
            StringComparison.Ordinal);
        Assert.Single(error.Trim().Split('\n'));
    }

    // What a silo writes that ends with exit code 2 and starts none of its services.
    private async Task<string> RefusalAsync(params string[] settings)
    {
        bool hasStarted = false;
        var errors = new StringWriter(CultureInfo.InvariantCulture);
        int code = await SiloHost.RunAsync(
            [.. Settings, .. settings],
            services => services.Insert(
                0, ServiceDescriptor.Singleton<IHostedService>(new Started(() => hasStarted = true))),
            errors).WaitAsync(TimeSpan.FromMinutes(1), Cancellation);
        Assert.Equal(2, code);
        Assert.False(hasStarted);
        return errors.ToString();
    }

    // An account that answers every request like this.
    private static HttpListener Refusing(int status, string code, out Uri address)
    {
        using (var free = new TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            address = new Uri($"http://{free.LocalEndpoint}/");
        }

        var listener = new HttpListener { Prefixes = { $"{address}" } };
        listener.Start();
        _ = Task.Run(async () =>
        {
            while (listener.IsListening)
            {
                HttpListenerContext context = await listener.GetContextAsync();
                context.Response.StatusCode = status;
                context.Response.Headers["x-ms-error-code"] = code;
                context.Response.Close();
            }
        });
        return listener;
    }

    private sealed class Late : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() - TimeSpan.FromHours(1);
    }

    private sealed class Started(Action report) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            report();
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

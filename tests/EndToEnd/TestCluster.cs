// A cluster of real processes on this machine: Redis, silos with a tiny model, a gateway; and a client with a key.
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

/// <summary>Processes of a cluster. They are killed when it is disposed.</summary>
internal sealed class TestCluster : IAsyncDisposable
{
    private const string AdminKey = "an-admin-key-of-the-tests-0123456789";
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(90);

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-e2e").FullName;
    private readonly string _secret = Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));
    private readonly Dictionary<string, string> _settings;
    private readonly int[] _ports;
    private readonly bool _embedded;
    private readonly int _operatorPorts;

    /// <summary>Prepares a cluster; nothing is started yet.</summary>
    /// <param name="silos">Number of silos.</param>
    /// <param name="embedded">Whether the silos share a database on this machine, instead of a Redis.</param>
    /// <param name="evaluationMilliseconds">Delay added to each evaluation.</param>
    /// <param name="settings">Further settings of silos and gateway.</param>
    /// <param name="metrics">Whether silos and gateway serve metrics, and silos an autoscaler.</param>
    public TestCluster(
        int silos, bool embedded, double evaluationMilliseconds = 0, Dictionary<string, string>? settings = null,
        bool metrics = false)
    {
        _settings = settings ?? [];
        _embedded = embedded;
        _operatorPorts = metrics ? (3 * silos) + 2 : 0;
        _ports = FreePorts((3 * silos) + 2 + (metrics ? (2 * silos) + 2 : 0));
        Directory.CreateDirectory(RedisFolder);
        Redis = new ProcessUnderTest(
            "redis-server",
            [
                "--port", $"{_ports[0]}", "--bind", "127.0.0.1", "--dir", RedisFolder, "--appendonly", "yes",
                "--appendfsync", "always", "--save", "",
            ],
            new Dictionary<string, string>());
        Silos = [.. Enumerable.Range(0, silos).Select(i => Silo(i, evaluationMilliseconds))];
        var gateway = new Dictionary<string, string>(_settings)
        {
            ["Cluster__Secret"] = _secret, ["Gateway__Port"] = $"{_ports[1]}", ["Gateway__AdminKey"] = AdminKey,
        };
        if (embedded)
        {
            for (int i = 0; i < silos; i++)
            {
                gateway[$"Cluster__Silos__{i}"] = $"127.0.0.1:{_ports[4 + (3 * i)]}";
            }
        }
        else
        {
            gateway["Store__Redis"] = RedisText;
        }

        if (metrics)
        {
            gateway["Metrics__Port"] = $"{GatewayMetricsPort}";
            (gateway["Gateway__RequestsPerSecond"], gateway["Gateway__RequestsBurst"]) = ("10000", "10000");
            gateway["Gateway__UnknownKeysPerSecond"] = "10000";
        }

        Gateway = new ProcessUnderTest("dotnet", [Program("Gateway", "Atelier.Gateway.dll")], gateway);
    }

    /// <summary>The store.</summary>
    public ProcessUnderTest Redis { get; }

    /// <summary>The silos.</summary>
    public IReadOnlyList<ProcessUnderTest> Silos { get; }

    /// <summary>The gateway.</summary>
    public ProcessUnderTest Gateway { get; }

    /// <summary>What no log may contain: the cluster's secret and the administrator's key.</summary>
    public IEnumerable<string> Secrets => [_secret, AdminKey];

    /// <summary>The gateway's address.</summary>
    public Uri Url => new($"http://127.0.0.1:{_ports[1]}");

    /// <summary>The port of the store, if it is a Redis.</summary>
    public int RedisPort => _ports[0];

    /// <summary>The folder of the Redis.</summary>
    public string RedisFolder => Path.Combine(_folder, "redis");

    /// <summary>The folder of the database, if the cluster has no Redis.</summary>
    public string StoreFolder => Path.Combine(_folder, "store");

    /// <summary>The folder of the blobs.</summary>
    public string BlobFolder => Path.Combine(_folder, "blobs");

    /// <summary>Port of the gateway's metrics.</summary>
    public int GatewayMetricsPort => _ports[_operatorPorts];

    /// <summary>A free port for a Prometheus.</summary>
    public int PrometheusPort => _ports[^1];

    private string RedisText => $"127.0.0.1:{_ports[0]}";

    /// <summary>Starts all processes and waits until they serve.</summary>
    public async Task StartAsync()
    {
        if (!_embedded && !Redis.IsRunning)
        {
            await StartRedisAsync();
        }

        foreach (ProcessUnderTest silo in Silos)
        {
            silo.Start();
        }

        Gateway.Start();
        await ReadyAsync();
    }

    /// <summary>Starts the Redis alone.</summary>
    public async Task StartRedisAsync()
    {
        Redis.Start();
        await PatientlyAsync("the store", () => CanConnectAsync(_ports[0]));
    }

    /// <summary>Waits until every running silo and the gateway are ready.</summary>
    public async Task ReadyAsync()
    {
        using var http = new HttpClient();
        for (int i = 0; i < Silos.Count; i++)
        {
            int port = HttpPort(i);
            await PatientlyAsync($"silo {i}", () => IsReadyAsync(http, port));
        }

        await PatientlyAsync("the gateway", () => IsReadyAsync(http, _ports[1]));
    }

    /// <summary>Size of the embedded store's files, in bytes.</summary>
    public long StoreBytes() =>
        new DirectoryInfo(StoreFolder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length);

    /// <summary>A client of a new tenant.</summary>
    public async Task<HttpClient> TenantAsync(string name = "tenant")
    {
        using HttpClient admin = Client(AdminKey);
        await PatientlyAsync("the tenant", async () =>
        {
            using HttpResponseMessage made = await admin.PutAsJsonAsync(
                $"/v1/admin/tenants/{name}", new { requests_per_minute = 100_000, open_generations = 1_000 });
            return made.IsSuccessStatusCode;
        });
        using HttpResponseMessage answer = await admin.PostAsJsonAsync(
            $"/v1/admin/tenants/{name}/keys", new { label = "test" });
        answer.EnsureSuccessStatusCode();
        JsonObject key = (await answer.Content.ReadFromJsonAsync<JsonObject>())!;
        return Client(key["key"]!.GetValue<string>());
    }

    /// <summary>A client with the administrator's key.</summary>
    public HttpClient Admin() => Client(AdminKey);

    /// <summary>A client with a key.</summary>
    public HttpClient Client(string key)
    {
        var client = new HttpClient { BaseAddress = Url, Timeout = Timeout.InfiniteTimeSpan };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        return client;
    }

    /// <summary>Retries until the answer is yes; fails if that takes too long.</summary>
    public async Task PatientlyAsync(string what, Func<Task<bool>> ask)
    {
        using var enough = new CancellationTokenSource(s_patience);
        while (!await ask())
        {
            if (enough.IsCancellationRequested)
            {
                throw new TimeoutException($"{what} did not come up.\n{Logs()}");
            }

            await Task.Delay(100);
        }
    }

    /// <summary>The last lines of every process.</summary>
    public string Logs() => string.Join("\n", Silos.Append(Gateway).Select(process =>
        "---\n" + (process.Output.Length > 4000 ? process.Output[^4000..] : process.Output)));

    public async ValueTask DisposeAsync()
    {
        foreach (ProcessUnderTest process in Silos.Append(Gateway).Append(Redis))
        {
            await process.DisposeAsync();
        }

        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>Port of a silo's metrics.</summary>
    public int MetricsPort(int silo) => _ports[_operatorPorts + 1 + (2 * silo)];

    /// <summary>Port at which a silo answers an autoscaler.</summary>
    public int ScalerPort(int silo) => _ports[_operatorPorts + 2 + (2 * silo)];

    private int HttpPort(int silo) => _ports[2 + (3 * silo)];

    private ProcessUnderTest Silo(int i, double evaluationMilliseconds)
    {
        var settings = new Dictionary<string, string>(_settings)
        {
            ["Silo__Name"] = $"silo-{i}", ["Silo__Roles"] = "control,inference,training",
            ["Silo__HttpPort"] = $"{HttpPort(i)}",
            ["Silo__Port"] = $"{_ports[3 + (3 * i)]}",
            ["Silo__ProxyPort"] = $"{_ports[4 + (3 * i)]}", ["Cluster__Secret"] = _secret,
            ["Models__Folders__0"] = "none",
            ["Blobs__Folder"] = BlobFolder, ["Device__Threads"] = "1", ["Device__Slots"] = "4",
            ["Test__EvaluationMilliseconds"] = evaluationMilliseconds.ToString(
                System.Globalization.CultureInfo.InvariantCulture),
        };
        (string setting, string value) = _embedded ? ("Store__Folder", StoreFolder) : ("Store__Redis", RedisText);
        settings[setting] = value;
        if (_operatorPorts > 0)
        {
            (settings["Metrics__Port"], settings["Scaler__Port"]) = ($"{MetricsPort(i)}", $"{ScalerPort(i)}");
            settings["Silo__Pool"] = "pool";
        }

        return new ProcessUnderTest("dotnet", [Program("TestSilo", "Atelier.TestSilo.dll")], settings);
    }

    private static string Program(string project, string file)
    {
        string path = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", project, "release", file));
        Assert.True(File.Exists(path), $"{path} is not built");
        return path;
    }

    private static async Task<bool> IsReadyAsync(HttpClient http, int port)
    {
        try
        {
            using HttpResponseMessage answer = await http.GetAsync(new Uri($"http://127.0.0.1:{port}/health/ready"));
            return answer.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            return false;
        }
    }

    private static async Task<bool> CanConnectAsync(int port)
    {
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static int[] FreePorts(int count)
    {
        var listeners = new List<TcpListener>();
        for (int i = 0; i < count; i++)
        {
            var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            listeners.Add(listener);
        }

        int[] ports = [.. listeners.Select(listener => ((IPEndPoint)listener.LocalEndpoint).Port)];
        listeners.ForEach(listener => listener.Stop());
        return ports;
    }
}

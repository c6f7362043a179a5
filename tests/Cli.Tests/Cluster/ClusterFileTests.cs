// Goal: the secrets of a cluster on this machine are created once, readable by its user alone, and survive; and one
// folder belongs to one cluster. Method: folders with prepared files.
using Atelier.Cli.Cluster;

namespace Atelier.Cli.Tests.Cluster;

/// <summary>cluster.json, the folder around it, and its ports.</summary>
public sealed class ClusterFileTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AWrittenFile_IsRead_AndPrivateToItsUser()
    {
        Assert.Null(ClusterFile.Read(_folder.Path));
        ClusterFile file = ClusterFile.New() with { Key = "key", Port = 8080, Silos = [new SiloPorts(2, 3, 4)] };
        file.Write(_folder.Path);
        file.Write(_folder.Path);
        ClusterFile read = ClusterFile.Read(_folder.Path)!;
        Assert.Equal(file with { Silos = [] }, read with { Silos = [] });
        Assert.Equal(file.Silos, read.Silos);
        Assert.Equal("http://127.0.0.1:8080", read.Url);
        Assert.Equal(["cluster.json"], _folder.Content);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_folder["cluster.json"]));
        Assert.NotEqual(file.Secret, ClusterFile.New().Secret);
        Assert.NotEqual(file.AdminKey, ClusterFile.New().AdminKey);
        Assert.True(Convert.FromBase64String(file.Secret).Length >= Contracts.Tenants.Tickets.SecretBytesMin);
    }

    [Fact]
    public void ALeftoverOfADeadWriter_IsNotListed_AndBlocksNobody()
    {
        _folder.Write("cluster.json.part", "{\"half\":");
        Assert.Null(ClusterFile.Read(_folder.Path));
        ClusterFile.New().Write(_folder.Path);
        Assert.Equal(["cluster.json"], _folder.Content);
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("{\"format\": 1, \"secret\": 3, \"adminKey\": \"x\"}")]
    [InlineData(
        "{\"format\": 1, \"secret\": \"c2hvcnQ=\", \"adminKey\": \"0123456789012345678901234567890123456789\"}")]
    [InlineData("{\"format\": 1, \"secret\": null, \"adminKey\": null}")]
    [InlineData("{\"format\": 2, \"secret\": \"\", \"adminKey\": \"\"}")]
    public void ADamagedFile_IsRefused_WithAdvice(string text)
    {
        _folder.Write("cluster.json", text);
        var error = Assert.Throws<UserErrorException>(() => ClusterFile.Read(_folder.Path));
        Assert.Contains("is damaged: ", error.Message);
        Assert.Contains("Delete it", error.Message);
    }

    [Fact]
    public async Task OneFolder_HasOneCluster()
    {
        string path = _folder["deep/data"];
        using (ClusterFolder.Open(path, Assert.Fail))
        {
            (ClusterFile.New() with { Port = 8080 }).Write(path);
            Assert.Equal(
                UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(path));
            ProgramRun second = await AtelierProgram.RunAsync(
                _folder.Path, "up", "--data", path, "--model", model.Folder);
            second.FailedSaying($"A cluster is already running on {path}, at http://127.0.0.1:8080.", "--data");
        }

        using ClusterFolder next = ClusterFolder.Open(path, Assert.Fail);
        Assert.Equal(path, next.Path);
    }

    [Fact]
    public void AFile_IsNotAFolder()
    {
        _folder.Write("file", "");
        foreach ((string path, string fault) in new[] { ("file", "is a file"), ("file/data", "cannot be created") })
        {
            var error = Assert.Throws<UserErrorException>(() => ClusterFolder.Open(_folder[path], Assert.Fail));
            Assert.Contains(fault, error.Message);
        }
    }

    [Fact]
    public async Task AStoreThatIsStillInUse_IsWaitedFor()
    {
        using ClusterFolder folder = ClusterFolder.Open(_folder["data"], Assert.Fail);
        var said = new List<string>();
        Directory.CreateDirectory(folder.Store);
        FileStream held = new(
            Path.Combine(folder.Store, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        Task waiting = folder.WaitForStoreAsync(
            TimeSpan.FromMinutes(1), said.Add, TimeProvider.System, TestContext.Current.CancellationToken);
        Assert.False(waiting.IsCompleted);
        Assert.Single(said);
        await held.DisposeAsync();
        await waiting;
        await folder.WaitForStoreAsync(
            TimeSpan.Zero, said.Add, TimeProvider.System, TestContext.Current.CancellationToken);
        Assert.Single(said);
    }

    [Fact]
    public void Ports_AreThoseOfTheLastRun_UnlessSomebodyTookThem()
    {
        ClusterFile first = ClusterPlan.WithPorts(ClusterFile.New(), port: null, silos: 3);
        int[] ports = PortsOf(first);
        Assert.Equal(14, ports.Distinct().Count());
        Assert.Equal(ports, PortsOf(ClusterPlan.WithPorts(first, port: null, silos: 3)));
        Assert.Equal(ports[..6], PortsOf(ClusterPlan.WithPorts(first, port: null, silos: 1)));
        using var other = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, first.Silos[1].HttpPort);
        other.Start();
        ClusterFile second = ClusterPlan.WithPorts(first, port: null, silos: 3);
        Assert.NotEqual(first.Silos[1].HttpPort, second.Silos[1].HttpPort);
        Assert.Equal(first.Silos[0], second.Silos[0]);
        Assert.Equal(14, PortsOf(second).Distinct().Count());
        Assert.Contains(
            "another program is using it",
            Assert.Throws<UserErrorException>(() => ClusterPlan.WithPorts(first, first.Silos[1].HttpPort, 1)).Message);
    }

    private static int[] PortsOf(ClusterFile file) =>
    [
        file.Port, file.MetricsPort,
        .. file.Silos.SelectMany(silo => new[] { silo.Port, silo.ProxyPort, silo.HttpPort, silo.MetricsPort }),
    ];
}

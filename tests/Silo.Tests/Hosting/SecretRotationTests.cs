// Goal: the cluster's secret is changed without downtime: processes of neighboring steps of a rotation connect in both
// directions, and a process with another secret is refused. Method: the handshake of every pair of steps on plain
// sockets; and silos as they ship, replaced step by step, with a gateway's client and a ticket of each step.
using System.Net;
using System.Net.Sockets;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Ports;
using Atelier.ServiceDefaults;
using Atelier.Silo.Hosting;
using Atelier.Silo.Tests.Training;
using Atelier.Silo.Training;
using Atelier.Training.Worlds;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class SecretRotationTests : IDisposable
{
    private static readonly byte[] s_old = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly byte[] s_new = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];
    private static readonly byte[] s_unknown = [.. Enumerable.Range(2, 32).Select(i => (byte)i)];

    // The processes of each step of a rotation, and a stranger.
    private static readonly (byte[] Secret, byte[]? Accepted)[] s_steps =
        [(s_old, null), (s_old, s_new), (s_new, s_old), (s_new, null)];

    private readonly string _folder = Directory.CreateTempSubdirectory("rotation").FullName;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task ASocket_ConnectsNeighboringSteps_AndNobodyElse()
    {
        (byte[] Secret, byte[]? Accepted)[] all = [.. s_steps, (s_unknown, null), (s_unknown, s_old)];
        for (int server = 0; server < all.Length; server++)
        {
            for (int client = 0; client < all.Length; client++)
            {
                bool isMutual = Accepts(all[server], all[client]) && Accepts(all[client], all[server]);
                Assert.True(
                    isMutual || Math.Abs(server - client) > 1 || Math.Max(server, client) >= s_steps.Length);
                Assert.True(
                    await ConnectAsync(all[server], all[client]) == isMutual,
                    $"server {server}, client {client}: expected {isMutual}");
            }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Trainers_OfNeighboringSteps_Talk(int step)
    {
        await using PeerNode before = await PeerNode.StartAsync(
            "a", secret: s_steps[step].Secret, accepted: s_steps[step].Accepted);
        await using PeerNode after = await PeerNode.StartAsync(
            "b", secret: s_steps[step + 1].Secret, accepted: s_steps[step + 1].Accepted);
        PeerNode.Connect(before, after);
        await PeerNode.TalkAsync(before, after, 5);
    }

    // The network that a silo registers for its trainers; the silo itself does not start.
    [Fact]
    public async Task ASilosTrainers_AcceptBothSecrets()
    {
        IServiceCollection? registered = null;
        await Assert.ThrowsAsync<StopException>(() => SiloHost.RunAsync(
            [.. Settings(1), "--Silo:Roles=control,training"],
            services =>
            {
                registered = services;
                throw new StopException();
            }));
        await using ServiceProvider services = registered!.BuildServiceProvider();
        await using var silo = new PeerNode("a");
        await using PeerNode next = await PeerNode.StartAsync("b", secret: s_new, accepted: s_old);
        await using ITrainerPeers peers = await services.GetRequiredService<ITrainerNetwork>().ListenAsync(
            silo.Id, PeerNode.Stage,
            new StageFacts(null!, PeerNode.Limits.Shards, PeerNode.Limits.Parameters, ["weights"], "stage")
            {
                Batch = PeerNode.Limits.Samples, LearningRate = _ => 0,
            },
            silo, Cancellation);
        var members = new Dictionary<TrainerId, string>
        {
            [silo.Id] = peers.Address, [next.Id] = next.Peers.Address,
        };
        peers.Connect(members);
        next.Peers.Connect(members);
        next.Peers.Send(silo.Id, new CatchUpFrame(1, 5));
        await silo.ReceivesAsync(1);
    }

    [Fact]
    public async Task ARollingRestart_ForEachStep_KeepsTheClusterWhole()
    {
        var running = new List<ClusterPortsTests.RunningSilo>();
        try
        {
            for (int step = 0; step < s_steps.Length; step++)
            {
                running.Add(await StartAsync(step));
                foreach (ClusterPortsTests.RunningSilo silo in running)
                {
                    IManagementGrain management = silo.Grains.GetGrain<IManagementGrain>(0);
                    SiloAddress[] members = [.. (await management.GetHosts(onlyActive: true, Cancellation)).Keys];
                    Assert.Equal(running.Count, members.Length);
                    Assert.Equal(members.Length, (await management.GetRuntimeStatistics(members, Cancellation)).Length);
                }

                // Gateways of this step and, while its silos run, of the one before.
                for (int gateway = Math.Max(0, step - 1); gateway <= step; gateway++)
                {
                    (byte[] secret, byte[]? accepted) = s_steps[gateway];
                    foreach (ClusterPortsTests.RunningSilo silo in running)
                    {
                        TenantAnswer answer = await ClusterPortsTests.AddKeyAsync(
                            silo.ProxyPort, $"tenant-{gateway}",
                            client => client.UseClusterTransport(secret, accepted));
                        Assert.Equal("There is no such tenant, or it was closed.", answer.Message);
                        Assert.Equal(HttpStatusCode.OK, await AskAsync(silo, secret));
                    }
                }

                Assert.Equal(HttpStatusCode.Unauthorized, await AskAsync(running[^1], s_unknown));
                if (running.Count > 1)
                {
                    await running[0].DisposeAsync();
                    running.RemoveAt(0);
                }
            }

            await Assert.ThrowsAnyAsync<Exception>(() => ClusterPortsTests.AddKeyAsync(
                running[0].ProxyPort, "late", client => client.UseClusterTransport(s_old, s_new)));
            Assert.Equal(HttpStatusCode.Unauthorized, await AskAsync(running[0], s_old));
        }
        finally
        {
            foreach (ClusterPortsTests.RunningSilo silo in running)
            {
                await silo.DisposeAsync();
            }
        }
    }

    private async Task<ClusterPortsTests.RunningSilo> StartAsync(int step)
    {
        var silo = new ClusterPortsTests.RunningSilo { Settings = Settings(step) };
        await silo.InitializeAsync();
        Assert.Equal(
            s_steps[step].Accepted is not null,
            silo.Lines.Any(line => line.StartsWith("Cluster:AcceptedSecret is set", StringComparison.Ordinal)));
        return silo;
    }

    private string[] Settings(int step)
    {
        (byte[] secret, byte[]? accepted) = s_steps[step];
        return
        [
            $"--Silo:Name=step-{step}", $"--Store:Folder={_folder}/store", $"--Blobs:Folder={_folder}/blobs",
            $"--Cluster:Secret={Convert.ToBase64String(secret)}",
            .. accepted is null ? [] : (string[])[$"--Cluster:AcceptedSecret={Convert.ToBase64String(accepted)}"],
        ];
    }

    // An administrator's request, as a gateway with that secret signs it.
    private static async Task<HttpStatusCode> AskAsync(ClusterPortsTests.RunningSilo silo, byte[] secret)
    {
        using var http = new HttpClient();
        using var request = new HttpRequestMessage(
            HttpMethod.Get, $"http://127.0.0.1:{silo.HttpPort}/v1/admin/status");
        request.Headers.Add(Tickets.Header, new Tickets(secret, TimeProvider.System).Sign(
            new Caller(null, IsAdmin: true), "GET", "/v1/admin/status", []));
        using HttpResponseMessage answer = await http.SendAsync(request, Cancellation);
        return answer.StatusCode;
    }

    private static bool Accepts((byte[] Secret, byte[]? Accepted) one, (byte[] Secret, byte[]? Accepted) other) =>
        one.Secret == other.Secret || one.Accepted == other.Secret;

    // Whether a byte travels in each direction. A client learns only afterwards that a server has refused it.
    private static async Task<bool> ConnectAsync(
        (byte[] Secret, byte[]? Accepted) server, (byte[] Secret, byte[]? Accepted) client)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var dialer = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await dialer.ConnectAsync(listener.LocalEndpoint, Cancellation);
        Socket accepted = await listener.AcceptSocketAsync(Cancellation);
        var (one, other) = (new PeerSecurity(server.Secret, server.Accepted), new PeerSecurity(
            client.Secret, client.Accepted));
        bool[] passed = await Task.WhenAll(
            TrySwapAsync(() => one.AcceptAsync(accepted, Cancellation)),
            TrySwapAsync(() => other.DialAsync(dialer, Cancellation)));
        return passed.All(isPassed => isPassed);
    }

    private static async Task<bool> TrySwapAsync(Func<Task<Stream>> handshake)
    {
        try
        {
            await using Stream stream = await handshake();
            await stream.WriteAsync(new byte[1], Cancellation);
            int read = await stream.ReadAsync(new byte[1], Cancellation).AsTask()
                .WaitAsync(TimeSpan.FromSeconds(30), Cancellation);
            return read == 1;
        }
        catch (Exception error) when (error is IOException or System.Security.Authentication.AuthenticationException)
        {
            return false;
        }
    }

    private sealed class StopException : Exception;
}

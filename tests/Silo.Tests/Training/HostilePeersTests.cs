// Goal: a process without the secret can neither send a frame to a trainer nor disturb its peers; whatever a peer does,
// it loses only its own connection. Method: peers whose bytes the tests write, against the protocol's rules.
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Atelier.Silo.Training;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class HostilePeersTests
{
    private static readonly byte[] s_secret = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly byte[] s_otherSecret = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AStranger_GetsNothingIn_AndCostsNobodyASlot()
    {
        await using PeerNode a = await PeerNode.StartAsync(
            "a", secret: s_secret, options: options => (options.Unproven, options.Connections) = (4, 4));
        await using PeerNode b = await PeerNode.StartAsync("b", secret: s_secret);
        var strangers = new List<HandPeer>();
        for (int i = 0; i < 20; i++)
        {
            strangers.Add(await HandPeer.ConnectAsync(a.Port));
            if (i % 2 == 0)
            {
                // Without TLS, even a hello is garbage.
                await strangers[^1].Stream.WriteAsync(
                    new PeerHello(PeerNode.Stage, b.Id, a.Id, 1).Encode(), Cancellation);
            }
        }

        await Assert.ThrowsAnyAsync<Exception>(() => HandPeer.DialAsync(a, b.Id, secret: s_otherSecret));

        PeerNode.Connect(a, b);
        await PeerNode.TalkAsync(a, b, 5);
        Assert.Equal(b.Id, Assert.Single(a.Received).From);

        // Of the ten that only wait, the oldest were closed to make room.
        await Task.WhenAll(strangers.Where((_, i) => i % 2 == 0 || i < 12).Select(stranger => stranger.EndAsync()));
        Assert.Empty(a.Disconnected);
        Assert.True(a.Lines.Length <= 1, string.Join('\n', a.Lines));
        foreach (HandPeer stranger in strangers)
        {
            await stranger.DisposeAsync();
        }
    }

    [Fact]
    public async Task AHandshakeThatTakesTooLong_IsEnded()
    {
        await using PeerNode a = await PeerNode.StartAsync(
            "a", secret: s_secret, options: options => options.HandshakeTimeout = TimeSpan.FromSeconds(1.5));
        await using HandPeer silent = await HandPeer.ConnectAsync(a.Port);
        await using HandPeer proven = await HandPeer.ConnectAsync(a.Port, s_secret);
        await Task.WhenAll(silent.EndAsync(), proven.EndAsync());
        await PeerNode.UntilAsync(() => a.Lines.Length > 0);
        Assert.Contains("did not complete the handshake", Assert.Single(a.Lines), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("terabytes")]
    [InlineData("damaged")]
    public async Task WhatIsNoFrame_EndsTheConnection_AndNoOther(string what)
    {
        await using PeerNode a = await PeerNode.StartAsync("a", secret: s_secret);
        await using PeerNode b = await PeerNode.StartAsync("b", secret: s_secret);
        PeerNode.Connect(a, b);
        var id = new TrainerId("x", 1);
        (HandPeer peer, PeerAnswer answer) = await HandPeer.DialAsync(a, id, secret: s_secret);
        await using HandPeer hand = peer;
        Assert.Equal(PeerAnswer.Accepted, answer);
        await hand.SendAsync(new CatchUpFrame(1, 5));
        byte[] bytes = hand.Claiming(what == "terabytes" ? 1L << 42 : 400);
        await hand.Stream.WriteAsync(
            what == "garbage" ? RandomNumberGenerator.GetBytes(500)
                : what == "damaged" ? [.. bytes, .. new byte[404]] : bytes,
            Cancellation);
        await hand.EndAsync();
        await PeerNode.UntilAsync(() => a.Disconnected.Length == 1);
        await PeerNode.TalkAsync(a, b, 6);
        Assert.Equal([id], a.Disconnected);
        Assert.Equal(new CatchUpFrame(1, 5), Assert.Single(a.Received, one => one.From == id).Frame);
        Assert.Contains(a.Lines, line => line.Contains("x#1", StringComparison.Ordinal));
    }

    // The peer's machine has lost its power: its connection is still open here.
    [Fact]
    public async Task AHalfOpenConnection_IsBroken_AndThePeerIsUnreachable()
    {
        await using PeerNode b = await PeerNode.StartAsync("b", options: BriefSilence);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var id = new TrainerId("x", 1);
        await using PeerNode a = await PeerNode.StartAsync("a", options: BriefSilence);
        a.Peers.Connect(new Dictionary<TrainerId, string>
        {
            [a.Id] = a.Peers.Address, [b.Id] = b.Peers.Address, [id] = $"{listener.LocalEndpoint}",
        });
        (HandPeer peer, PeerHello hello) = await HandPeer.AcceptAsync(listener);
        await using HandPeer hand = peer;
        Assert.Equal((PeerNode.Stage, a.Id, id), (hello.Stage, hello.From, hello.To));
        await hand.Stream.WriteAsync(PeerHello.EncodeAnswer(PeerAnswer.Accepted, 0), Cancellation);
        await hand.SendAsync(new CatchUpFrame(1, 5));
        await a.ReceivesAsync(1);
        listener.Stop();
        await PeerNode.UntilAsync(() => a.Disconnected.Length > 0 && a.Peers.Unreachable.Contains(id));
        Assert.Equal([id], a.Disconnected.Where(one => one == id));
    }

    // The peer sends heartbeats and reads nothing: neither the wait nor the queue grows without bound, and sending
    // never blocks.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task APeerThatStopsReading_IsDisconnected_AndOthersGoOn(bool isFlooded)
    {
        await using PeerNode a = await PeerNode.StartAsync("a", options: options =>
        {
            options.SendQueueBytes = isFlooded ? 4 << 20 : 1L << 40;
            options.Silence = isFlooded ? options.Silence : TimeSpan.FromSeconds(3);
        });
        await using PeerNode b = await PeerNode.StartAsync("b");
        PeerNode.Connect(a, b);
        await PeerNode.TalkAsync(a, b, 5);
        var id = new TrainerId("x", 1);
        (HandPeer peer, _) = await HandPeer.DialAsync(a, id);
        await using HandPeer hand = peer;
        Task living = hand.LiveAsync();
        var total = new TotalFrame<GradientSlice>(1, 5, 1, 4, new GradientSlice(new float[250_000], null));
        for (int i = 0; i < 50; i++)
        {
            a.Peers.Send(id, total);
        }

        await PeerNode.UntilAsync(() => a.Disconnected.Contains(id));
        await PeerNode.TalkAsync(a, b, 6);
        await living;
        Assert.Equal([id], a.Disconnected);
    }

    [Fact]
    public async Task OneConnectionAPair_TheNewestCounts_AndALaterProcessReplacesItsPredecessor()
    {
        await using PeerNode a = await PeerNode.StartAsync("a");
        TrainerId second = new("x", 2), third = new("x", 3);
        (HandPeer one, _) = await HandPeer.DialAsync(a, second, attempt: 1);
        await one.SendAsync(new CatchUpFrame(1, 1));
        await a.ReceivesAsync(1);
        (HandPeer two, PeerAnswer again) = await HandPeer.DialAsync(a, second, attempt: 2);
        await two.SendAsync(new CatchUpFrame(1, 2));
        await one.EndAsync();
        await a.ReceivesAsync(2);
        (HandPeer three, PeerAnswer later) = await HandPeer.DialAsync(a, third, attempt: 1);
        await three.SendAsync(new CatchUpFrame(1, 3));
        await two.EndAsync();
        await a.ReceivesAsync(3);
        (HandPeer four, PeerAnswer old) = await HandPeer.DialAsync(a, second, attempt: 3);
        await four.EndAsync();
        Assert.Equal(
            (PeerAnswer.Accepted, PeerAnswer.Accepted, PeerAnswer.Stale), (again, later, old));

        // The end of a connection comes after its last frame and before the next one's first.
        Assert.Equal(["x#2 1", "x#2 ends", "x#2 2", "x#2 ends", "x#3 3"], a.Story);
        foreach (HandPeer hand in (HandPeer[])[one, two, three, four])
        {
            await hand.DisposeAsync();
        }
    }

    // Both dial each other at once: the connection that the lower id dialed is kept, and the other one is refused even
    // if it was delayed.
    [Fact]
    public async Task CrossedAttempts_GiveOneConnection()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var id = new TrainerId("x", 1);
        await using PeerNode a = await PeerNode.StartAsync("a");
        a.Peers.Connect(new Dictionary<TrainerId, string>
        {
            [a.Id] = a.Peers.Address, [id] = $"{listener.LocalEndpoint}",
        });
        (HandPeer dialed, _) = await HandPeer.AcceptAsync(listener);
        (HandPeer crossing, PeerAnswer crossed) = await HandPeer.DialAsync(a, id, attempt: 4);
        Assert.Equal(PeerAnswer.Crossed, crossed);
        await dialed.Stream.WriteAsync(PeerHello.EncodeAnswer(PeerAnswer.Accepted, 5), Cancellation);
        await dialed.SendAsync(new CatchUpFrame(1, 1));
        await a.ReceivesAsync(1);
        (HandPeer late, PeerAnswer delayed) = await HandPeer.DialAsync(a, id, attempt: 5);
        Assert.Equal(PeerAnswer.Crossed, delayed);
        await dialed.SendAsync(new CatchUpFrame(1, 2));
        await a.ReceivesAsync(2);
        Assert.Empty(a.Disconnected);

        // A later attempt means that the peer has lost the connection.
        (HandPeer next, PeerAnswer accepted) = await HandPeer.DialAsync(a, id, attempt: 6);
        Assert.Equal((PeerAnswer.Accepted, 1), (accepted, a.Disconnected.Length));
        foreach (HandPeer hand in (HandPeer[])[dialed, crossing, late, next])
        {
            await hand.DisposeAsync();
        }
    }

    [Theory]
    [InlineData("stage", PeerAnswer.OtherStage)]
    [InlineData("expected", PeerAnswer.OtherTrainer)]
    [InlineData("incarnation", PeerAnswer.OtherTrainer)]
    [InlineData("itself", PeerAnswer.OtherTrainer)]
    [InlineData("version", PeerAnswer.OtherVersion)]
    [InlineData("full", PeerAnswer.Full)]
    public async Task AHelloThatDoesNotFit_IsRefused(string what, object expected)
    {
        await using PeerNode a = await PeerNode.StartAsync("a", options: options => options.Connections = 1);
        TrainerId id = new("x", 1);
        (HandPeer other, _) = await HandPeer.DialAsync(a, new TrainerId("y", 1));
        var hello = new PeerHello(PeerNode.Stage, id, a.Id, 1);
        hello = what switch
        {
            "stage" => hello with { Stage = "run/stage-2" },
            "expected" => hello with { To = new TrainerId("b", 1) },
            "incarnation" => hello with { To = a.Id with { Incarnation = 0 } },
            "itself" => hello with { From = a.Id },
            _ => hello,
        };
        await using HandPeer hand = await HandPeer.ConnectAsync(a.Port);
        byte[] bytes = hello.Encode();
        bytes[7] += (byte)(what == "version" ? 1 : 0);
        await hand.Stream.WriteAsync(bytes, Cancellation);
        (PeerAnswer answer, _) = await PeerHello.ReadAnswerAsync(hand.Stream, Cancellation);
        Assert.Equal(expected, answer);
        await hand.EndAsync();
        Assert.Empty(a.Received);
        await PeerNode.UntilAsync(() => a.Lines.Length == 1);
        Assert.Contains(PeerHello.Explain(answer), a.Lines[0], StringComparison.Ordinal);

        // A member of the world is let in beyond the bound.
        a.Peers.Connect(new Dictionary<TrainerId, string> { [id] = "127.0.0.1:1" });
        (HandPeer named, PeerAnswer accepted) = await HandPeer.DialAsync(a, id, attempt: 2);
        Assert.Equal(PeerAnswer.Accepted, accepted);
        await other.DisposeAsync();
        await named.DisposeAsync();
    }

    [Fact]
    public async Task WithoutASecret_ConnectionsStayOnTheMachine()
    {
        ArgumentException error = Assert.Throws<ArgumentException>(() => new TcpPeers(
            new TrainerId("a", 1), PeerNode.Stage, new PeerOptions(), PeerNode.Limits,
            new PeerSecurity(null), new IPEndPoint(IPAddress.Any, 0), TimeProvider.System, new PeerNode("b"),
            NullLogger<TcpPeers>.Instance));
        Assert.Contains("Cluster:Secret", error.Message, StringComparison.Ordinal);

        await using PeerNode a = await PeerNode.StartAsync("a");
        a.Peers.Connect(new Dictionary<TrainerId, string> { [new TrainerId("x", 1)] = "192.0.2.1:80" });
        await PeerNode.UntilAsync(() => a.Lines.Length > 0 && a.Peers.Unreachable.Count == 1);
        Assert.Contains("loopback only", a.Lines[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("somewhere")]
    [InlineData("127.0.0.1")]
    [InlineData("")]
    public async Task AnAddressThatIsNone_IsUnreachable(string address)
    {
        await using PeerNode a = await PeerNode.StartAsync("a");
        a.Peers.Connect(new Dictionary<TrainerId, string> { [new TrainerId("x", 1)] = address });
        await PeerNode.UntilAsync(() => a.Lines.Length > 0 && a.Peers.Unreachable.Count == 1);
        Assert.Contains("ip:port", a.Lines[0], StringComparison.Ordinal);
    }

    private static void BriefSilence(PeerOptions options) => options.Silence = TimeSpan.FromSeconds(1);
}

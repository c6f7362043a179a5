// Goal: between trainers, frames arrive whole and in order, and it does not matter who dialed; waiting data is bounded,
// a connection ends once, and trainers reconnect. Method: trainers on loopback that record events.
using System.Security.Cryptography;
using Atelier.Training;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class TcpPeersTests
{
    private static readonly byte[] s_secret = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task FramesOfEveryKind_ArriveInOrder(bool isSecured)
    {
        byte[]? secret = isSecured ? s_secret : null;
        await using PeerNode a = await PeerNode.StartAsync("a", secret: secret);
        await using PeerNode b = await PeerNode.StartAsync("b", secret: secret);
        PeerNode.Connect(a, b);
        var sums = new BatchSums { LossSum = 0.5, Samples = 2, SampleIds = [7, 3], World = 4 };
        float[] values = [.. Enumerable.Range(0, 400_000).Select(i => i * 0.1f)];
        Frame[] frames =
        [
            new PartialFrame<GradientSlice>(1, 5, 0, new TreeNode(1, 2), new GradientSlice(values, sums)),
            new TotalFrame<GradientSlice>(1, 5, 1, 3, new GradientSlice(values.AsMemory(5, 1000), null)),
            new CatchUpFrame(1, 5), new FollowFrame(1), new FollowedFrame(1, 2, 5), new CopyFrame(1, 5, 0, 1),
            new StateFrame(1, 5, 0, 1, null), .. Enumerable.Range(0, 200).Select(step => new CatchUpFrame(2, step)),
        ];
        foreach ((PeerNode from, PeerNode to) in ((PeerNode, PeerNode)[])[(a, b), (b, a)])
        {
            Array.ForEach(frames, frame => from.Peers.Send(to.Id, frame));
            await to.ReceivesAsync(frames.Length);
            Assert.All(to.Received, received => Assert.Equal(from.Id, received.From));
            var partial = (PartialFrame<GradientSlice>)to.Received[0].Frame;
            var total = (TotalFrame<GradientSlice>)to.Received[1].Frame;
            Assert.True(partial.Value.Values.Span.SequenceEqual(values));
            Assert.True(total.Value.Values.Span.SequenceEqual(values.AsSpan(5, 1000)));
            Assert.Equal([7, 3], partial.Value.Sums!.SampleIds);
            Assert.Equal((0.5, 4), (partial.Value.Sums.LossSum, partial.Value.Sums.World));
            Assert.Equal((5, 0, new TreeNode(1, 2)), (partial.Step, partial.Slice, partial.Node));
            Assert.Equal((5, 1, 3), (total.Step, total.Slice, total.Slices));
            Assert.Equal(frames[2..], to.Received.Skip(2).Select(received => received.Frame));
        }

        Assert.Empty(a.Disconnected.Concat(b.Disconnected));
        Assert.Empty(a.Peers.Unreachable.Concat(b.Peers.Unreachable));
    }

    // Whatever its id, it dials, and members that do not know it answer over its connection.
    [Theory]
    [InlineData("a")]
    [InlineData("z")]
    public async Task ASpectator_IsAnswered_OverItsConnection(string name)
    {
        await using PeerNode member = await PeerNode.StartAsync("m");
        await using PeerNode spectator = await PeerNode.StartAsync(name);
        PeerNode.Connect(member);
        spectator.Peers.Connect(new Dictionary<TrainerId, string> { [member.Id] = member.Peers.Address });
        spectator.Peers.Send(member.Id, new FollowFrame(1));
        await member.ReceivesAsync(1);
        member.Peers.Send(spectator.Id, new FollowedFrame(1, 0, 5));
        await spectator.ReceivesAsync(1);

        // It becomes a member, and the connection stays.
        PeerNode.Connect(member, spectator);
        await PeerNode.TalkAsync(member, spectator, 6);
        Assert.Empty(member.Disconnected.Concat(spectator.Disconnected));

        // One that is no longer a peer is disconnected by the dialer.
        spectator.Peers.Connect(new Dictionary<TrainerId, string>());
        await PeerNode.UntilAsync(() => member.Disconnected.Length == 1 && spectator.Disconnected.Length == 1);
    }

    // The copy is not readable to its end before the total was sent: the total does not wait for it.
    [Fact]
    public async Task ACopy_ArrivesWhole_AndHoldsNothingUp()
    {
        await using PeerNode a = await PeerNode.StartAsync("a", secret: s_secret);
        await using PeerNode b = await PeerNode.StartAsync("b", secret: s_secret);
        PeerNode.Connect(a, b);
        b.Peers.Send(a.Id, new CopyFrame(1, 5, 0, 1));
        await a.ReceivesAsync(1);
        using var copy = new TestCopy(8 << 20);
        a.Peers.Send(b.Id, new StateFrame(1, 5, 0, 1, new StatePart(copy, 0, 1)));
        a.Peers.Send(b.Id, new CatchUpFrame(1, 6));
        copy.Open();
        await b.ReceivesAsync(2);
        Assert.Equal(new CatchUpFrame(1, 6), b.Received[0].Frame);
        var state = (StateFrame)b.Received[1].Frame;
        byte[] read = new byte[copy.Length];
        ((ReceivedPart)state.State!).Bytes.Read(0, read);
        Assert.Equal(SHA256.HashData(copy.Bytes), SHA256.HashData(read));
        await PeerNode.UntilAsync(() => copy.IsDisposed);
    }

    // A state that was not requested takes no memory; a copy that is replaced or cannot be sent is disposed.
    [Fact]
    public async Task ACopyThatNobodyAskedFor_IsDropped()
    {
        await using PeerNode a = await PeerNode.StartAsync("a");
        await using PeerNode b = await PeerNode.StartAsync("b");
        PeerNode.Connect(a, b);
        using TestCopy unasked = new(3 << 20), nowhere = new(1 << 20), late = new(1 << 20);
        unasked.Open();
        a.Peers.Send(b.Id, new StateFrame(1, 5, 0, 1, new StatePart(unasked, 0, 1)));
        a.Peers.Send(new TrainerId("nobody", 1), new StateFrame(1, 5, 0, 1, new StatePart(nowhere, 0, 1)));
        Assert.True(nowhere.IsDisposed);
        await PeerNode.UntilAsync(() => unasked.IsDisposed);
        await PeerNode.TalkAsync(a, b, 7);
        Assert.DoesNotContain(b.Received, received => received.Frame is StateFrame);

        // The dialer's queue is dropped with its connection.
        await b.DisposeAsync();
        await PeerNode.UntilAsync(() => a.Disconnected.Length == 1);
        a.Peers.Send(b.Id, new StateFrame(1, 6, 0, 1, new StatePart(late, 0, 1)));
        Assert.False(late.IsDisposed);
        a.Peers.Connect(new Dictionary<TrainerId, string> { [a.Id] = a.Peers.Address });
        Assert.True(late.IsDisposed);
    }

    [Fact]
    public async Task FramesThatWaitForAPeer_AreBounded_AndSentOnceItIsThere()
    {
        await using PeerNode a = await PeerNode.StartAsync("a");
        await using PeerNode b = await PeerNode.StartAsync("b", options: options => options.SendQueueBytes = 4 << 20);
        var both = new Dictionary<TrainerId, string> { [a.Id] = a.Peers.Address, [b.Id] = b.Peers.Address };
        b.Peers.Connect(both);
        b.Peers.Send(a.Id, new CatchUpFrame(1, 5));
        a.Peers.Connect(both);
        await a.ReceivesAsync(1);
        a.Peers.Connect(new Dictionary<TrainerId, string> { [a.Id] = a.Peers.Address });
        await PeerNode.UntilAsync(() => b.Disconnected.Length == 1);

        for (int i = 0; i < 5; i++)
        {
            b.Peers.Send(a.Id, new TotalFrame<GradientSlice>(
                1, 6, 1, 4, new GradientSlice(new float[250_000], null)));
        }

        await PeerNode.UntilAsync(() => b.Disconnected.Length == 2);
        b.Peers.Send(a.Id, new CatchUpFrame(1, 7));
        a.Peers.Connect(both);
        await PeerNode.UntilAsync(() => a.HasStep(b.Id, 7));
        Assert.Equal(2, a.Received.Length);
    }

    // While received frames are not processed, no more than the bound is held, the senders wait, and nothing is lost.
    [Fact]
    public async Task WhatIsReceivedAndNotTaken_IsBounded()
    {
        const int FrameBytes = 1_000_000, FramesMax = 4;
        await using PeerNode b = await PeerNode.StartAsync(
            "b", options: options => options.ReceiveBytes = (FramesMax * FrameBytes) + 500_000);
        await using PeerNode a = await PeerNode.StartAsync("a");
        await using PeerNode c = await PeerNode.StartAsync("c");
        PeerNode.Connect(a, b, c);
        b.Holds = true;
        for (int i = 0; i < 20; i++)
        {
            foreach (PeerNode from in (PeerNode[])[a, c])
            {
                from.Peers.Send(b.Id, new TotalFrame<GradientSlice>(
                    1, i, 1, 4, new GradientSlice(new float[FrameBytes / sizeof(float)], null)));
            }
        }

        for (int taken = 0; taken < 30; taken++)
        {
            await b.ReceivesAsync(taken + FramesMax);
            await PeerNode.TalkAsync(a, c, taken);
            Assert.Equal(taken + FramesMax, b.Received.Length);
            b.Take(1);
        }

        b.TakeAll();
        await b.ReceivesAsync(40);
        Assert.All((PeerNode[])[a, c], from => Assert.Equal(
            Enumerable.Range(0, 20).Select(i => (long)i),
            b.Received.Where(one => one.From == from.Id)
                .Select(one => ((TotalFrame<GradientSlice>)one.Frame).Step)));
        Assert.Empty(b.Disconnected);
    }

    [Fact]
    public async Task APeerThatDies_IsReportedOnce_AndItsNextProcessIsAnotherPeer()
    {
        await using PeerNode a = await PeerNode.StartAsync("a");
        PeerNode b = await PeerNode.StartAsync("b");
        await using PeerNode c = await PeerNode.StartAsync("c");
        PeerNode.Connect(a, b, c);
        await PeerNode.TalkAsync(a, b, 5);
        await PeerNode.TalkAsync(b, c, 5);
        int port = b.Port;
        await b.DisposeAsync();
        await PeerNode.UntilAsync(() => a.Peers.Unreachable.Count > 0 && c.Peers.Unreachable.Count > 0);
        Assert.Equal([b.Id], a.Peers.Unreachable);
        Assert.Equal([b.Id], c.Peers.Unreachable);

        // The same port, but not the trainer that the others expect.
        await using PeerNode next = await PeerNode.StartAsync("b", incarnation: 2, port: port);
        await PeerNode.UntilAsync(() => a.Lines.Any(line => line.Contains("b#1", StringComparison.Ordinal)));
        PeerNode.Connect(a, next, c);
        await PeerNode.TalkAsync(a, next, 6);
        await PeerNode.TalkAsync(next, c, 6);
        Assert.Empty(a.Peers.Unreachable.Concat(c.Peers.Unreachable));
        Assert.Equal([b.Id], a.Disconnected);
        Assert.Equal([b.Id], c.Disconnected);
        Assert.DoesNotContain(next.Received, one => one.From == b.Id);
    }

    // Worlds change at different times at different trainers; in the end all are connected, once.
    [Fact]
    public async Task HoweverWorldsFollow_AllMembersEndUpConnected()
    {
        PeerNode[] nodes = [.. await Task.WhenAll(Enumerable.Range(0, 5).Select(i => PeerNode.StartAsync($"n{i}")))];
        Dictionary<TrainerId, string> all = nodes.ToDictionary(node => node.Id, node => node.Peers.Address);
        var random = new Random(11);
        for (int i = 0; i < 200; i++)
        {
            int members = random.Next(32);
            nodes[random.Next(5)].Peers.Connect(
                all.Where((_, at) => (members >> at & 1) == 1).ToDictionary(one => one.Key, one => one.Value));
            if (i % 10 == 0)
            {
                await Task.Delay(random.Next(20), Cancellation);
            }
        }

        PeerNode.Connect(nodes);
        await PeerNode.UntilAsync(() => nodes.All(node => node.Peers.Unreachable.Count == 0));

        // Frames may still be lost with connections of the worlds before.
        foreach ((PeerNode one, PeerNode other) in
            from one in nodes from other in nodes where one.Port < other.Port select (one, other))
        {
            await PeerNode.UntilAsync(() =>
            {
                one.Peers.Send(other.Id, new CatchUpFrame(1, 1));
                other.Peers.Send(one.Id, new CatchUpFrame(1, 1));
                return one.HasStep(other.Id, 1) && other.HasStep(one.Id, 1);
            });
        }

        int[] ended = [.. nodes.Select(node => node.Disconnected.Length)];
        foreach ((PeerNode one, PeerNode other) in
            from one in nodes from other in nodes where one.Port < other.Port select (one, other))
        {
            await PeerNode.TalkAsync(one, other, 2);
        }

        Assert.Equal(ended, nodes.Select(node => node.Disconnected.Length));
        await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
    }

    [Fact]
    public async Task APortInUse_IsNamed()
    {
        await using PeerNode a = await PeerNode.StartAsync("a");
        await using var b = new PeerNode("b", port: a.Port);
        IOException error = await Assert.ThrowsAsync<IOException>(() => b.Peers.StartAsync());
        Assert.Contains($"127.0.0.1:{a.Port}", error.Message, StringComparison.Ordinal);
        Assert.Contains("another process uses the port", error.Message, StringComparison.Ordinal);
    }

    // A copy whose second half is readable once it is opened.
    private sealed class TestCopy : IStateCopy
    {
        private readonly ManualResetEventSlim _open = new();

        public TestCopy(int length)
        {
            Bytes = new byte[length];
            new Random(1).NextBytes(Bytes);
        }

        public byte[] Bytes { get; }

        public bool IsDisposed { get; private set; }

        public long Length => Bytes.Length;

        public void Open() => _open.Set();

        public void Read(long offset, Span<byte> destination)
        {
            if (offset >= Length / 2)
            {
                _open.Wait(TimeSpan.FromMinutes(1), Cancellation);
            }

            Bytes.AsSpan((int)offset, destination.Length).CopyTo(destination);
        }

        public void Dispose() => IsDisposed = true;
    }
}

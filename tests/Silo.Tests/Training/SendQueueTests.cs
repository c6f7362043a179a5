// Goal: frames leave in order and within the bound, a peer gets only the latest copy of the state, copies are disposed
// whatever happens, and nothing stays in a closed queue. Method: a queue without a connection, driven by hand.
using Atelier.Silo.Training;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class SendQueueTests
{
    private static readonly FrameCodec s_codec = new(PeerNode.Limits);

    private static readonly Frame s_follow = new FollowFrame(1);

    private static readonly long s_bytes = s_codec.Encode(s_follow).Bytes;

    [Fact]
    public void Frames_LeaveInOrder_EachUntilItIsSent()
    {
        using var queue = new SendQueue(10 * s_bytes);
        FrameEncoding one = s_codec.Encode(s_follow), other = s_codec.Encode(s_follow);
        Assert.True(queue.TryAdd(s_follow, one));
        Assert.True(queue.TryAdd(s_follow, other));
        Assert.Same(one, queue.NextFrame());
        Assert.Same(one, queue.NextFrame());
        queue.Sent();
        Assert.Same(other, queue.NextFrame());
        queue.Sent();
        Assert.Null(queue.NextFrame());
    }

    [Fact]
    public void FramesBeyondTheBound_AreRefused_UntilOthersAreSent()
    {
        using var queue = new SendQueue(2 * s_bytes);
        Assert.Equal([true, true, false], Enumerable.Range(0, 3).Select(_ => Add(queue)));
        queue.Sent();
        Assert.Equal([true, false], Enumerable.Range(0, 2).Select(_ => Add(queue)));
    }

    [Fact]
    public void FrameLargerThanTheBound_MayWaitAlone()
    {
        using var queue = new SendQueue(1);
        Assert.Equal([true, false], Enumerable.Range(0, 2).Select(_ => Add(queue)));
        queue.Sent();
        Assert.True(Add(queue));
    }

    [Fact]
    public void RequestForACopy_IsRemembered_IfItIsQueued()
    {
        using var queue = new SendQueue(1);
        Assert.Null(queue.Asked);
        Assert.True(Add(queue, new CopyFrame(3, 7, 0, 2)));
        Assert.False(Add(queue, new CopyFrame(3, 9, 0, 2)));
        Assert.Equal((3, 7), queue.Asked);
    }

    [Fact]
    public void Heartbeats_AreNotPiledUp()
    {
        using var queue = new SendQueue(1);
        Assert.False(queue.TakeHeartbeat());
        queue.AddHeartbeat();
        queue.AddHeartbeat();
        Assert.True(queue.WaitAsync(TestContext.Current.CancellationToken).IsCompletedSuccessfully);
        Assert.False(queue.WaitAsync(TestContext.Current.CancellationToken).IsCompleted);
        Assert.Equal((true, false), (queue.TakeHeartbeat(), queue.TakeHeartbeat()));
    }

    [Fact]
    public async Task Addition_WakesTheWriter()
    {
        using var queue = new SendQueue(10 * s_bytes);
        Task frame = queue.WaitAsync(TestContext.Current.CancellationToken);
        Assert.False(frame.IsCompleted);
        Add(queue);
        await frame;
        Task state = queue.WaitAsync(TestContext.Current.CancellationToken);
        Assert.False(state.IsCompleted);
        queue.Add(Sender(new Copy(1)));
        await state;
    }

    [Fact]
    public void NewerCopy_ReplacesTheOneThatWaits_AndTheOneThatIsBeingSent()
    {
        using var queue = new SendQueue(1);
        Copy[] copies = [.. Enumerable.Range(0, 3).Select(_ => new Copy(3 * StateChunkFrame.BytesMax))];
        queue.Add(Sender(copies[0]));
        Assert.False(queue.NextChunk().IsEmpty);

        queue.Add(Sender(copies[1]));
        queue.Add(Sender(copies[2]));
        Assert.Equal([false, true, false], copies.Select(copy => copy.IsDisposed));

        // All chunks of the last copy follow.
        Assert.Equal([false, false, false, true], Enumerable.Range(0, 4).Select(_ => queue.NextChunk().IsEmpty));
        Assert.Equal([true, true, true], copies.Select(copy => copy.IsDisposed));
    }

    [Fact]
    public void ClosedQueue_HoldsNothing_AndTakesNothing()
    {
        var queue = new SendQueue(1);
        Copy[] copies = [.. Enumerable.Range(0, 3).Select(_ => new Copy(3 * StateChunkFrame.BytesMax))];
        Add(queue);
        queue.Add(Sender(copies[0]));
        Assert.False(queue.NextChunk().IsEmpty);
        queue.Add(Sender(copies[1]));
        queue.Dispose();

        // Frames are lost with their connection: the sender notices the disconnection, not a full queue.
        Assert.Equal([true, true], Enumerable.Range(0, 2).Select(_ => Add(queue)));
        queue.Add(Sender(copies[2]));
        queue.AddHeartbeat();
        Assert.Null(queue.NextFrame());
        Assert.True(queue.NextChunk().IsEmpty);
        Assert.False(queue.TakeHeartbeat());
        Assert.Equal([true, true, true], copies.Select(copy => copy.IsDisposed));
    }

    private static bool Add(SendQueue queue, Frame? frame = null) =>
        queue.TryAdd(frame ?? s_follow, s_codec.Encode(frame ?? s_follow));

    private static StateSender Sender(Copy copy) =>
        new(s_codec, new StateFrame(3, 7, 0, 1, new StatePart(copy, 0, 1)));

    private sealed class Copy(long length) : IStateCopy
    {
        public bool IsDisposed { get; private set; }

        public long Length => length;

        public void Read(long offset, Span<byte> destination) => destination.Clear();

        public void Dispose() => IsDisposed = true;
    }
}

// Goal: a state arrives complete and unchanged, or its sender is detected as faulty; a receiver holds one state per
// peer, and only the bytes that have arrived. Method: lengths around the ends of chunks and segments, and chunks out of
// order.
using System.Security.Cryptography;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class StateChunksTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(StateChunkFrame.BytesMax - 1)]
    [InlineData(StateChunkFrame.BytesMax)]
    [InlineData(StateChunkFrame.BytesMax + 1)]
    [InlineData(StateBytes.SegmentBytes)]
    [InlineData((2 * StateBytes.SegmentBytes) + 12_345)]
    public void AState_ArrivesAsItWasSent(int length)
    {
        var copy = new Copy(length);
        byte[][] chunks = Chunks(copy, 3, 7);
        Assert.True(copy.IsDisposed);
        Assert.Equal((length + StateChunkFrame.BytesMax - 1) / StateChunkFrame.BytesMax, chunks.Length);

        using var assembly = new StateAssembly();
        var decoder = new FrameDecoder(FrameSamples.Codec);
        StateFrame? whole = null;
        foreach (byte[] chunk in chunks)
        {
            Assert.Null(whole);
            whole = assembly.Add((StateChunkFrame)FrameSamples.Decode(chunk, decoder));
        }

        Assert.Equal((3, 7), (whole!.World, whole.Step));
        using IStateCopy state = StateParts.Join([(ReceivedPart)whole.State!]);
        byte[] read = new byte[state.Length];
        state.Read(0, read.AsSpan(0, length / 3));
        state.Read(length / 3, read.AsSpan(length / 3));
        Assert.Equal(SHA256.HashData(copy.Bytes), SHA256.HashData(read));
        Assert.Throws<ArgumentOutOfRangeException>(() => state.Read(1, read));
        Assert.Throws<ArgumentOutOfRangeException>(() => state.Read(-1, read.AsSpan(0, 1)));
    }

    [Theory]
    [InlineData(0, 2)]
    [InlineData(1)]
    [InlineData(0, 1, 1)]
    [InlineData(0, 1, 2, 2)]
    public void ChunksOutOfOrder_AreRefused(params int[] order)
    {
        byte[][] chunks = Chunks(new Copy(3 * StateChunkFrame.BytesMax), 3, 7);
        using var assembly = new StateAssembly();
        foreach (int at in order[..^1])
        {
            assembly.Add(Read(chunks[at]));
        }

        Assert.Throws<InvalidFrameException>(() => assembly.Add(Read(chunks[order[^1]])));
    }

    [Theory]
    [InlineData(4, 7, 3)]
    [InlineData(3, 8, 3)]
    [InlineData(3, 7, 4)]
    public void AChunkOfAnotherState_DoesNotFollow(int world, long step, int chunks)
    {
        using var assembly = new StateAssembly();
        assembly.Add(Read(Chunks(new Copy(3 * StateChunkFrame.BytesMax), 3, 7)[0]));
        byte[] other = Chunks(new Copy(chunks * StateChunkFrame.BytesMax), world, step)[1];
        Assert.Throws<InvalidFrameException>(() => assembly.Add(Read(other)));
    }

    [Fact]
    public void ANewState_ReplacesTheOneThatWasGivenUp()
    {
        byte[][] old = Chunks(new Copy(2 * StateChunkFrame.BytesMax), 3, 7);
        var copy = new Copy(2 * StateChunkFrame.BytesMax, seed: 5);
        byte[][] later = Chunks(copy, 3, 9);
        using var assembly = new StateAssembly();
        Assert.Null(assembly.Add(Read(old[0])));
        Assert.Null(assembly.Add(Read(later[0])));
        StateFrame whole = assembly.Add(Read(later[1]))!;
        byte[] read = new byte[copy.Bytes.Length];
        ((ReceivedPart)whole.State!).Bytes.Read(0, read);
        Assert.True(read.AsSpan().SequenceEqual(copy.Bytes));
        Assert.Equal(9, whole.Step);
    }

    // The checksums of the chunks are correct, but the copy changed while it was sent, or the sender lies.
    [Fact]
    public void AnotherDigest_IsRefused_AndTheStateIsGone()
    {
        StateChunkFrame last = Read(Chunks(new Copy(1000), 3, 7)[0]);
        byte[] digest = last.Digest.ToArray();
        digest[31] ^= 1;
        using var assembly = new StateAssembly();
        Assert.Throws<InvalidFrameException>(() => assembly.Add(last with { Digest = digest }));
        Assert.NotNull(assembly.Add(last));
    }

    [Theory]
    [InlineData(0, 0, "0 bytes")]
    [InlineData(-1, 0, "-1 bytes")]
    [InlineData((40L << 20) + 1, 0, "it must have 1 to 41943040")]
    [InlineData(1L << 60, 0, "it must have 1 to 41943040")]
    [InlineData(1000, 1000, "begins at byte 1000")]
    [InlineData(1000, -1, "begins at byte -1")]
    [InlineData(1000, 1, "has 1064 bytes")]
    [InlineData(1064, 0, "has 1064 bytes")]
    [InlineData(5000, 0, null)]
    public void AnImpossibleChunk_IsRefused(long length, long offset, string? said)
    {
        byte[] payload = new byte[StateChunkFrame.PrefixBytes + 1000 + (2 * SHA256.HashSizeInBytes)];
        BitConverter.TryWriteBytes(payload, length);
        BitConverter.TryWriteBytes(payload.AsSpan(8), offset);
        var header = new FrameHeader(FrameKind.StateChunk, 1, 5, 0, 1, default, 0, payload.Length);
        if (said is null)
        {
            Assert.Equal(1064, StateChunkFrame.Read(header, payload, FrameSamples.Limits).Bytes.Length);
            return;
        }

        Assert.Contains(
            said,
            Assert.Throws<InvalidFrameException>(
                () => StateChunkFrame.Read(header, payload, FrameSamples.Limits)).Message,
            StringComparison.Ordinal);
    }

    // If a state claims the maximum length, its receiver allocates only the segments whose bytes arrive.
    [Fact]
    public void MemoryComes_AsBytesArrive()
    {
        byte[] first = Chunks(new Copy(40 << 20), 3, 7)[0];
        using var assembly = new StateAssembly();
        StateChunkFrame chunk = Read(first);
        long before = GC.GetAllocatedBytesForCurrentThread();
        assembly.Add(chunk);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, StateBytes.SegmentBytes + 10_000);
    }

    // The manifest requires the digests of all parts. They are computed while the first part is sent, so that no chunk
    // keeps the connection waiting for the whole state.
    [Theory]
    [InlineData(4)]
    [InlineData(StateParts.Max)]
    public void NoChunk_NeedsMoreOfTheState_ThanAChunkOfEachPart(int parts)
    {
        var copy = new Copy(parts * 3 * StateChunkFrame.BytesMax);
        using var sender = new StateSender(
            FrameSamples.Codec, new StateFrame(3, 7, 0, parts, new StatePart(copy, 0, parts)));
        long before = 0;
        while (sender.TryNext(out _))
        {
            Assert.InRange(copy.BytesRead - before, 1, (long)parts * StateChunkFrame.BytesMax);
            before = copy.BytesRead;
        }

        Assert.Equal(copy.Length, before);
    }

    // Parts of several members: either all belong to one state, or they are refused.
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(StateParts.Max)]
    public void PartsOfSeveralMembers_MakeOneState_OrAreRefused(int parts)
    {
        const int length = (5 << 20) + 3;
        ReceivedPart[] Received(int seed) =>
        [
            .. Enumerable.Range(0, parts).Select(part => Whole(Chunks(new Copy(length, seed), 3, 7, part, parts))),
        ];
        ReceivedPart[] good = Received(1), other = Received(2);
        using IStateCopy state = StateParts.Join(good);
        byte[] read = new byte[length];
        state.Read(0, read.AsSpan(0, length / 2));
        state.Read(length / 2, read.AsSpan(length / 2));
        Assert.True(read.AsSpan().SequenceEqual(new Copy(length).Bytes));
        Assert.Throws<ArgumentOutOfRangeException>(() => state.Read(1, read));
        for (int part = 0; part < parts && parts > 1; part++)
        {
            ReceivedPart[] mixed = [.. good];
            mixed[part] = other[part];
            Assert.Throws<InvalidDataException>(() => StateParts.Join(mixed));
        }

        Assert.Throws<InvalidDataException>(() => StateParts.Join([.. good, good[^1]]));
    }

    private static ReceivedPart Whole(byte[][] chunks)
    {
        using var assembly = new StateAssembly();
        StateFrame?[] frames = [.. chunks.Select(chunk => assembly.Add(Read(chunk)))];
        return (ReceivedPart)frames[^1]!.State!;
    }

    [Fact]
    public void StatesOutsideOfTheLimits_AreNotSent()
    {
        Assert.Throws<ArgumentException>(
            () => new StateSender(FrameSamples.Codec, new StateFrame(1, 5, 0, 1, new StatePart(new Copy(0), 0, 1))));
        Assert.Throws<ArgumentException>(
            () => new StateSender(
                FrameSamples.Codec,
                new StateFrame(1, 5, 0, 1, new StatePart(new StateBytes((40L << 20) + 1), 0, 1))));
        Assert.Throws<ArgumentException>(
            () => new StateSender(FrameSamples.Codec, new StateFrame(0, 5, 0, 1, new StatePart(new Copy(1), 0, 1))));
        Assert.Throws<ArgumentException>(() => new StateSender(FrameSamples.Codec, new StateFrame(1, 5, 0, 1, null)));
    }

    private static byte[][] Chunks(Copy copy, int world, long step, int part = 0, int parts = 1)
    {
        using var sender = new StateSender(
            FrameSamples.Codec, new StateFrame(world, step, part, parts, new StatePart(copy, part, parts)));
        var chunks = new List<byte[]>();
        while (sender.TryNext(out ReadOnlyMemory<byte> chunk))
        {
            chunks.Add(chunk.ToArray());
        }

        return [.. chunks];
    }

    private static StateChunkFrame Read(byte[] chunk) => (StateChunkFrame)FrameSamples.Decode(chunk);

    private sealed class Copy : IStateCopy
    {
        public Copy(int length, int seed = 1)
        {
            Bytes = new byte[length];
            new Random(seed).NextBytes(Bytes);
        }

        public byte[] Bytes { get; }

        public bool IsDisposed { get; private set; }

        public long Length => Bytes.Length;

        public long BytesRead { get; private set; }

        public void Read(long offset, Span<byte> destination)
        {
            Bytes.AsSpan((int)offset, destination.Length).CopyTo(destination);
            BytesRead += destination.Length;
        }

        public void Dispose() => IsDisposed = true;
    }
}

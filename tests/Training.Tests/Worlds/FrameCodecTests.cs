// Goal: a frame arrives as it was sent or not at all, and no header makes a receiver allocate more than the run needs.
// Method: round trips; flipped bits and truncated frames by seed; and hand-made headers with correct checksums.
using System.Security.Cryptography;
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class FrameCodecTests
{
    private static readonly FrameHeader s_total = new(FrameKind.Total, 1, 5, 1, 4, default, 100, 400);
    private static readonly FrameHeader s_partial = new(FrameKind.Partial, 1, 5, 1, 0, new TreeNode(1, 3), 100, 400);

    [Fact]
    public void EveryFrame_ArrivesAsItWasSent_HoweverItIsCut() =>
        Gen.Select(FrameSamples.Frames, Gen.Int).Sample(
            (frame, seed) => FrameSamples.AssertEqual(
                frame, FrameSamples.Decode(FrameSamples.Encode(frame), pieces: new Random(seed))),
            iter: 300);

    // Trainers of two releases train together. A release that changes these bytes changes the version of the hello.
    [Fact]
    public void Frames_HaveTheBytesOfTheReleaseBefore()
    {
        var claim = new ShardClaim(3, 0.5, 1.25, 77);
        var sums = new BatchSums
        {
            Claims = [claim], LossSum = 2.5, Samples = 4, NotFinite = 1, SampleIds = [8, 9, 10, 11],
            LeftOut = [new BadSample(9, "latents", "NaN")], Largest = new SampleLoss(10, 0.75f), World = 2,
        };
        Frame[] frames =
        [
            new PartialFrame<GradientSlice>(2, 5, 1, new TreeNode(1, 3), new GradientSlice(new[] { 1, -2.5f }, null)),
            new TotalFrame<GradientSlice>(2, 5, 0, 4, new GradientSlice(new[] { 0.5f }, sums)),
            new CatchUpFrame(2, 5), new FollowFrame(2), new FollowedFrame(2, 1, 5), new CopyFrame(2, 5, 1, 8),
            new StateFrame(2, 5, 1, 8, null), new VerifyFrame(2, 5, claim), new VerifiedFrame(2, 5, claim),
            new HeartbeatFrame(),
        ];
        byte[] bytes = [.. frames.SelectMany(FrameSamples.Encode)];
        Assert.Equal(
            "de3c67d48eb27e8c02c8207bf8d0059907996f0b91846eb377d8c8a0e69feb5c",
            Convert.ToHexStringLower(SHA256.HashData(bytes)));
    }

    [Fact]
    public void AFlippedBit_IsRefused() =>
        Gen.Select(FrameSamples.Frames.Where(frame => FrameSamples.Encode(frame).Length < 10_000), Gen.Int).Sample(
            (frame, seed) =>
            {
                byte[] bytes = FrameSamples.Encode(frame);
                int inHeader = FrameCodec.HeaderBytes * 8;
                var random = new Random(seed);
                foreach (int bit in Enumerable.Range(0, inHeader).Concat(Enumerable.Range(0, 200)
                    .Where(_ => bytes.Length * 8 > inHeader).Select(_ => random.Next(inHeader, bytes.Length * 8))))
                {
                    bytes[bit / 8] ^= (byte)(1 << (bit % 8));
                    Assert.Throws<InvalidFrameException>(() => FrameSamples.Decode(bytes));
                    bytes[bit / 8] ^= (byte)(1 << (bit % 8));
                }
            },
            iter: 60);

    [Fact]
    public void ATruncatedFrame_IsNeverWhole() =>
        Gen.Select(FrameSamples.Frames, Gen.Double[0, 1])
            .Where((frame, _) => FrameSamples.Encode(frame).Length > FrameCodec.HeaderBytes)
            .Sample(
                (frame, share) =>
                {
                    byte[] bytes = FrameSamples.Encode(frame);
                    int length = FrameCodec.HeaderBytes + (int)(share * (bytes.Length - FrameCodec.HeaderBytes));
                    Assert.Throws<EndOfStreamException>(
                        () => FrameSamples.Decode(bytes.AsSpan(0, Math.Min(length, bytes.Length - 1))));
                },
                iter: 50);

    [Fact]
    public void APayloadOfAnotherHeader_IsRefused()
    {
        byte[] one = FrameSamples.Encode(Total(step: 5)), other = FrameSamples.Encode(Total(step: 6));
        byte[] mixed = [.. one.AsSpan(0, FrameCodec.HeaderBytes), .. other.AsSpan(FrameCodec.HeaderBytes)];
        Assert.Throws<InvalidFrameException>(() => FrameSamples.Decode(mixed));
    }

    public static TheoryData<string, string> Impossible => new()
    {
        { "kind", "kind 0" }, { "kind above", "kind 12" },
        { "world 0", "world is 0; it must be in 1.." }, { "world", "world is -1" },
        { "step", "step is -1" },
        { "slices 0", "number of slices is 0; it must be in 1..8" }, { "slices", "number of slices is 9" },
        { "slice", "slice is 4; it must be in 0..3" }, { "slice below", "slice is -1" },
        { "partial's slice", "slice is 8" }, { "partial's slices", "number of slices is 1; it must be 0" },
        { "level", "node's level is 4; it must be in 0..3" }, { "level below", "node's level is -1" },
        { "index", "node's index is 4; it must be in 0..3" }, { "index below", "node's index is -1" },
        { "node of a total", "node's index is 3; it must be 0" },
        { "numbers", "number of values is 600001; it must be in 0..600000" },
        { "numbers below", "number of values is -1" },
        { "terabytes", "payload's length in bytes is 1099511627776" }, { "short", "payload's length in bytes is 399" },
        { "negative", "payload's length in bytes is -1" },
        { "sums too long", "payload's length in bytes is 34000000; it must be in 452.." },
        { "no sums", "payload's length in bytes is 400; it must be in 452.." },
        { "payload of a request", "payload's length in bytes is 8; it must be 0" },
        { "chunk", "payload's length in bytes is 1049137; it must be in 17..1049136" },
        { "claim", "payload's length in bytes is 27; it must be 28" },
        { "requested claim", "payload's length in bytes is 0; it must be 28" },
        { "slice of a request", "slice is 1; it must be 0" }, { "heartbeat", "world is 1; it must be 0" },
    };

    [Theory]
    [MemberData(nameof(Impossible))]
    public void AnImpossibleHeader_IsRefused_AndCostsNothing(string what, string said)
    {
        FrameHeader header = what switch
        {
            "kind" => s_total with { Kind = FrameKind.None },
            "kind above" => s_total with { Kind = FrameKind.Verify + 1 },
            "world 0" => s_total with { World = 0 },
            "world" => s_total with { World = -1 },
            "step" => s_total with { Step = -1 },
            "slices 0" => s_total with { Slices = 0 },
            "slices" => s_total with { Slices = 9 },
            "slice" => s_total with { Slice = 4 },
            "slice below" => s_total with { Slice = -1 },
            "partial's slice" => s_partial with { Slice = 8 },
            "partial's slices" => s_partial with { Slices = 1 },
            "level" => s_partial with { Node = new TreeNode(4, 0) },
            "level below" => s_partial with { Node = new TreeNode(-1, 0) },
            "index" => s_partial with { Node = new TreeNode(1, 4) },
            "index below" => s_partial with { Node = new TreeNode(1, -1) },
            "node of a total" => s_total with { Node = new TreeNode(0, 3) },
            "numbers" => s_total with { Values = 600_001, PayloadBytes = 2_400_004 },
            "numbers below" => s_total with { Values = -1, PayloadBytes = -4 },
            "terabytes" => s_total with { PayloadBytes = 1L << 40 },
            "short" => s_total with { PayloadBytes = 399 },
            "negative" => s_total with { PayloadBytes = -1 },
            "sums too long" => s_total with { Slice = 0, PayloadBytes = 34_000_000 },
            "no sums" => s_total with { Slice = 0 },
            "payload of a request" => new FrameHeader(FrameKind.Copy, 1, 5, 0, 1, default, 0, 8),
            "chunk" => new FrameHeader(FrameKind.StateChunk, 1, 5, 0, 1, default, 0, 1_049_137),
            "claim" => new FrameHeader(FrameKind.Verified, 1, 5, 0, 0, default, 0, 27),
            "requested claim" => new FrameHeader(FrameKind.Verify, 1, 5, 0, 0, default, 0, 0),
            "slice of a request" => new FrameHeader(FrameKind.CatchUp, 1, 5, 1, 0, default, 0, 0),
            _ => new FrameHeader(FrameKind.Heartbeat, 1, 0, 0, 0, default, 0, 0),
        };
        byte[] bytes = new byte[FrameCodec.HeaderBytes];
        header.Write(bytes);
        var decoder = new FrameDecoder(FrameSamples.Codec);
        long before = GC.GetAllocatedBytesForCurrentThread();
        string message = Refusal(() => decoder.Begin(bytes));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100_000);
        Assert.Contains(said, message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnotherVersion_AndAnotherProtocol_AreNamed()
    {
        byte[] bytes = FrameSamples.Encode(new FollowFrame(1));
        byte[] later = [.. bytes], http = [.. "GET / HTTP/1.1\r\nHost: somewhere.example\r\nAccept: */*\r\n\r\n"u8];
        later[4]++;
        Assert.Contains("version 4", Refusal(() => FrameSamples.Decode(later)), StringComparison.Ordinal);
        Assert.Contains("begins with", Refusal(() => FrameSamples.Decode(http)), StringComparison.Ordinal);
    }

    // A header alone allocates nothing: memory is allocated when the first window is requested.
    [Fact]
    public void AHeader_AllocatesNothing_ForItsPayload()
    {
        byte[] bytes = FrameSamples.Encode(Total(step: 5, length: 600_000));
        var decoder = new FrameDecoder(FrameSamples.Codec);
        decoder.Begin(bytes.AsSpan(0, FrameCodec.HeaderBytes));
        long before = GC.GetAllocatedBytesForCurrentThread();
        FrameBody body = decoder.Begin(bytes.AsSpan(0, FrameCodec.HeaderBytes));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 10_000);
        Assert.Equal(2_400_004, body.Bytes);
    }

    // Sums with a correct checksum that claim more elements than there are, or impossible values.
    [Theory]
    [InlineData(40, 65, "65 indices of samples; a batch has 64 samples")]
    [InlineData(40, -1, "-1 indices")]
    [InlineData(40, 50, "do not fit")]
    [InlineData(44, 65, "65 samples left out")]
    [InlineData(44, 1, "do not fit")]
    [InlineData(44, int.MinValue, "samples left out")]
    [InlineData(40, 1, "about shard 9")]
    [InlineData(28, 2, "2 largest losses")]
    [InlineData(24, -3, "world -3")]
    [InlineData(8, 65, "65 samples")]
    [InlineData(16, 65, "65 samples whose loss is not finite")]
    [InlineData(52, -5, "index -5")]
    [InlineData(48, 9, "claims about 9 shards; a batch has 8")]
    [InlineData(48, -1, "claims about -1 shards")]
    [InlineData(48, 3, "do not fit")]
    [InlineData(60, 8, "about shard 8; it must be in 0..7")]
    [InlineData(60, -1, "about shard -1")]
    public void ImpossibleSums_AreRefused(int at, int value, string said)
    {
        var sums = new BatchSums { Samples = 2, SampleIds = [4, 9], Claims = [new ShardClaim(3, 1, 2, 3)] };
        byte[] bytes = new byte[BatchSumsCodec.BytesOf(sums)];
        BatchSumsCodec.Write(sums, bytes);
        BitConverter.TryWriteBytes(bytes.AsSpan(at), value);
        Assert.Contains(
            said, Refusal(() => BatchSumsCodec.Read(bytes, FrameSamples.Limits)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData((byte)'A', 2, "end within sample 1 of 1")]
    [InlineData((byte)0xFF, 1, "not UTF-8")]
    public void ImpossibleTexts_AreRefused(byte letter, byte columnBytes, string said)
    {
        var sums = new BatchSums { LeftOut = [new BadSample(1, "A", "")] };
        byte[] bytes = new byte[BatchSumsCodec.BytesOf(sums)];
        BatchSumsCodec.Write(sums, bytes);
        (bytes[56], bytes[60]) = (columnBytes, letter);
        Assert.Contains(
            said, Refusal(() => BatchSumsCodec.Read(bytes, FrameSamples.Limits)), StringComparison.Ordinal);
    }

    // A frame that a peer would refuse is refused by the sender's own codec.
    [Fact]
    public void FramesOutsideOfTheLimits_AreNotEncoded()
    {
        GradientSlice slice = new(new float[3], null), first = new(new float[3], new BatchSums());
        Frame[] frames =
        [
            new VerifiedFrame(1, 5, new ShardClaim(8, 1, 1, 1)), new VerifiedFrame(0, 5, default),
            new VerifyFrame(1, 5, new ShardClaim(-1, 1, 1, 1)), new VerifyFrame(1, -1, default),
            new PartialFrame<GradientSlice>(
                1, 5, 0, default, first with { Sums = new BatchSums { Claims = [.. new ShardClaim[9]] } }),
            new TotalFrame<GradientSlice>(1, 5, 4, 4, slice), new TotalFrame<GradientSlice>(0, 5, 1, 4, slice),
            new TotalFrame<GradientSlice>(1, 5, 0, 4, slice), new TotalFrame<GradientSlice>(1, 5, 1, 4, first),
            new PartialFrame<GradientSlice>(1, 5, 1, new TreeNode(3, 1), slice),
            new PartialFrame<GradientSlice>(
                1, 5, 0, default, first with { Sums = new BatchSums { SampleIds = [.. new int[65]] } }),
            new PartialFrame<GradientSlice>(
                1, 5, 0, default,
                first with { Sums = new BatchSums { LeftOut = [new BadSample(1, new string('x', 257), "NaN")] } }),
            new CatchUpFrame(1, -1), new StateFrame(1, 5, 0, 1, new StateBytes(5)), new StateFrame(1, 5, 0, 1, "text"),
            new CopyFrame(1, 5, 0, 17), new CopyFrame(1, 5, 4, 4), new StateFrame(1, 5, 0, 0, null),
            new TotalFrame<string>(1, 5, 0, 1, "text"),
        ];
        Assert.All(frames, frame => Assert.Throws<ArgumentException>(() => FrameSamples.Codec.Encode(frame)));
    }

    [Theory]
    [InlineData(0, 8, 64, 1)]
    [InlineData(1, 6, 64, 1)]
    [InlineData(1, 0, 64, 1)]
    [InlineData(1, 8, 0, 1)]
    [InlineData(1, 8, 64, 0)]
    public void ImpossibleLimits_AreRefused(int parameters, int shards, int samples, long state) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new FrameCodec(new FrameLimits
        {
            Parameters = parameters, Shards = shards, Samples = samples, StateBytes = state,
        }));

    // The check value of the published definition, and lengths just below and above that of a word.
    [Fact]
    public void TheChecksum_IsCrc32C_HoweverTheBytesAreCut()
    {
        byte[] bytes = [.. "123456789"u8];
        Assert.Equal(0xE3069283, Crc32C.Append(0, bytes));
        for (int cut = 0; cut <= bytes.Length; cut++)
        {
            Assert.Equal(0xE3069283, Crc32C.Append(Crc32C.Append(0, bytes.AsSpan(0, cut)), bytes.AsSpan(cut)));
        }
    }

    private static TotalFrame<GradientSlice> Total(long step, int length = 30) =>
        new(1, step, 1, 4, new GradientSlice(FrameSamples.Numbers(3, length), null));

    private static string Refusal(Action act) => Assert.Throws<InvalidFrameException>(act).Message;
}

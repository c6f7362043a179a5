// Sample frames of every kind, by seed, and helpers with which the tests encode and decode them.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

internal static class FrameSamples
{
    public static FrameLimits Limits { get; } = new()
    {
        Parameters = 600_000, Shards = 8, Samples = 64, StateBytes = 40 << 20,
    };

    public static FrameCodec Codec { get; } = new(Limits);

    // Declared before Sums, which uses it.
    private static Gen<ShardClaim> Claims { get; } =
        from shard in Gen.Int[0, 7]
        from loss in Gen.Double
        from norm in Gen.OneOf(Gen.Double, Gen.Const(double.NaN))
        from checksum in Gen.ULong
        select new ShardClaim(shard, loss, norm, checksum);

    public static Gen<BatchSums> Sums { get; } =
        from loss in Gen.Double
        from samples in Gen.Int[0, Limits.Samples]
        from notFinite in Gen.Int[0, samples]
        from ids in Gen.Int[0, int.MaxValue].Array[samples]
        from leftOut in Gen.Select(
            Gen.Int[0, 1000], Gen.OneOf("latents", "", "ä\u6F22\uD83D\uDE00"),
            Gen.OneOf("NaN", "-infinity"), (sample, column, value) => new BadSample(sample, column, value))
            .Array[0, 4]
        from largest in Gen.OneOf<SampleLoss?>(
            null, new SampleLoss(3, 0.5f), new SampleLoss(0, float.NaN), new SampleLoss(7, -0f))
        from world in Gen.Int[0, 9]
        from claims in Claims.Array[0, 8]
        select new BatchSums
        {
            Claims = [.. claims],
            LossSum = loss, Samples = samples, NotFinite = notFinite, SampleIds = [.. ids], LeftOut = [.. leftOut],
            Largest = largest, World = world,
        };

    // The lengths include those just below and above the length of a piece.
    public static Gen<GradientSlice> Slices(int slice) =>
        from length in Gen.OneOf(Gen.Int[0, 40], Gen.OneOf(262_143, 262_144, 262_145, 600_000))
        from seed in Gen.Int
        from sums in Sums
        select new GradientSlice(Numbers(seed, length), slice == 0 ? sums : null);

    public static Gen<Frame> Frames { get; } = Gen.Int[1, int.MaxValue].SelectMany(world =>
        Gen.Long[0, long.MaxValue].SelectMany(step => Gen.Int[0, 7].SelectMany(slice => Gen.OneOf<Frame>(
            from value in Slices(slice)
            from level in Gen.Int[0, 3]
            from index in Gen.Int[0, (8 >> level) - 1]
            select (Frame)new PartialFrame<GradientSlice>(world, step, slice, new TreeNode(level, index), value),
            from value in Slices(slice)
            from slices in Gen.Int[slice + 1, 8]
            select (Frame)new TotalFrame<GradientSlice>(world, step, slice, slices, value),
            from claim in Claims
            select (Frame)new VerifiedFrame(world, step, claim),
            from claim in Claims
            select (Frame)new VerifyFrame(world, step, claim),
            Gen.OneOf<Frame>(
                new HeartbeatFrame(), new CatchUpFrame(world, step), new FollowFrame(world),
                new FollowedFrame(world, slice, step), new CopyFrame(world, step, slice, 8),
                new StateFrame(world, step, slice, 9, null))))));

    /// <summary>Numbers with random bits, including NaNs with a payload.</summary>
    public static float[] Numbers(int seed, int length)
    {
        float[] numbers = new float[length];
        new Random(seed).NextBytes(System.Runtime.InteropServices.MemoryMarshal.AsBytes(numbers.AsSpan()));
        return numbers;
    }

    public static byte[] Encode(Frame frame)
    {
        FrameEncoding encoding = Codec.Encode(frame);
        using var all = new MemoryStream();
        while (encoding.TryNext(out ReadOnlyMemory<byte> piece))
        {
            all.Write(piece.Span);
        }

        Assert.Equal(encoding.Bytes, all.Length);
        return all.ToArray();
    }

    /// <summary>Decodes one frame in pieces of random sizes; no bytes may follow the frame.</summary>
    public static Frame Decode(ReadOnlySpan<byte> bytes, FrameDecoder? decoder = null, Random? pieces = null)
    {
        FrameBody body = (decoder ?? new FrameDecoder(Codec)).Begin(bytes[..FrameCodec.HeaderBytes]);
        bytes = bytes[FrameCodec.HeaderBytes..];
        while (!body.IsWhole)
        {
            Span<byte> window = body.Window().Span;
            int count = Math.Min(window.Length, bytes.Length);
            count = pieces is null || count == 0 ? count : pieces.Next(1, count + 1);
            if (count == 0)
            {
                throw new EndOfStreamException();
            }

            bytes[..count].CopyTo(window);
            bytes = bytes[count..];
            body.Advance(count);
        }

        Assert.True(bytes.IsEmpty);
        return body.ToFrame();
    }

    public static void AssertEqual(Frame expected, Frame actual)
    {
        switch (expected, actual)
        {
            case (PartialFrame<GradientSlice> one, PartialFrame<GradientSlice> other):
                AssertEqual(one.Value, other.Value);
                Assert.Equal(one, other with { Value = one.Value });
                break;
            case (TotalFrame<GradientSlice> one, TotalFrame<GradientSlice> other):
                AssertEqual(one.Value, other.Value);
                Assert.Equal(one, other with { Value = one.Value });
                break;
            default:
                Assert.Equal(expected, actual);
                break;
        }
    }

    public static void AssertEqual(BatchSums? expected, BatchSums? actual)
    {
        Assert.Equal(expected is null, actual is null);
        if (expected is not null)
        {
            Assert.Equal(expected.SampleIds, actual!.SampleIds);
            Assert.Equal(expected.LeftOut, actual.LeftOut);
            Assert.Equal(expected.Claims, actual.Claims);
            Assert.Equal(
                BitConverter.DoubleToInt64Bits(expected.LossSum), BitConverter.DoubleToInt64Bits(actual.LossSum));
            Assert.Equal(
                expected with { LossSum = 0 },
                actual with
                {
                    LossSum = 0,
                    SampleIds = expected.SampleIds,
                    LeftOut = expected.LeftOut,
                    Claims = expected.Claims,
                });
        }
    }

    private static void AssertEqual(GradientSlice expected, GradientSlice actual)
    {
        Assert.True(
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(expected.Values.Span).SequenceEqual(
                System.Runtime.InteropServices.MemoryMarshal.AsBytes(actual.Values.Span)),
            "the numbers differ");
        AssertEqual(expected.Sums, actual.Sums);
    }
}

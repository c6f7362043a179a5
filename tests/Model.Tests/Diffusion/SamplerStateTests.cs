// Goal: the bytes of a state are read back unchanged, and invalid bytes are always rejected, without reserving memory
// that they do not back.
using System.Buffers.Binary;
using Atelier.Model.Diffusion;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Diffusion;

public sealed class SamplerStateTests
{
    private static readonly Gen<SamplerState> s_states =
        from step in Gen.Int[0, SamplerSettings.StepsMax]
        from latent in Gen.Double.Array[1, 12]
        from corrector in Gen.Bool
        from derivative in Gen.Double.Array[latent.Length]
        select new SamplerState(step, latent, corrector ? derivative : null);

    [Fact]
    public void Bytes_ComeBackBitForBit() => s_states.Sample(state =>
    {
        SamplerState back = SamplerState.FromBytes(state.ToBytes());
        Assert.Equal((state.Step, state.IsCorrector), (back.Step, back.IsCorrector));
        Assert.Equal(state.ToBytes(), back.ToBytes());
    });

    [Fact]
    public void DamagedBytes_AreRefusedWithAFormatException_OrAreAStateThemselves()
    {
        Gen<Func<byte[], byte[]>> damages = Gen.OneOf<Func<byte[], byte[]>>(
            Gen.Int[0, 300].Select(length => (Func<byte[], byte[]>)(b => b[..Math.Min(length, b.Length)])),
            Gen.Byte.Array[0, 40].Select(more => (Func<byte[], byte[]>)(b => [.. b, .. more])),
            from field in Gen.Int[0, 3]
            from value in Gen.OneOf(Gen.Int, Gen.Int[-2, 2000])
            select (Func<byte[], byte[]>)(b =>
            {
                BinaryPrimitives.WriteInt32LittleEndian(b.AsSpan(4 * field), value);
                return b;
            }),
            Gen.Byte.Array[0, 64].Select(other => (Func<byte[], byte[]>)(_ => other)));
        Gen.Select(s_states, damages.Array[1, 3]).Sample((state, chain) =>
        {
            byte[] bytes = chain.Aggregate(state.ToBytes(), (b, damage) => b.Length < 16 ? b : damage(b));
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                SamplerState read = SamplerState.FromBytes(bytes);
                Assert.Equal(bytes, read.ToBytes());
                Assert.InRange(read.Step, 0, SamplerSettings.StepsMax);
            }
            catch (Exception error) when (error is FormatException or NonFiniteException)
            {
                Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 16);
            }
        }, iter: 20_000);
    }

    [Fact]
    public void EveryCut_IsRefused()
    {
        byte[] bytes = new SamplerState(3, [1, 2, 3], [4, 5, 6]).ToBytes();
        for (int length = 0; length < bytes.Length; length++)
        {
            // Without the flag, half of a corrector's numbers would be read as a predictor's.
            Assert.Throws<FormatException>(() => SamplerState.FromBytes(bytes.AsSpan(0, length)));
        }
    }

    [Fact]
    public void NonFiniteNumbers_AreRefused()
    {
        foreach (double broken in new[] { double.NaN, double.PositiveInfinity })
        {
            SamplerState[] states = [new(0, [1, broken], null), new(0, [1, 2], [broken, 2])];
            foreach (SamplerState state in states)
            {
                Assert.Throws<NonFiniteException>(() => SamplerState.FromBytes(state.ToBytes()));
            }
        }
    }
}

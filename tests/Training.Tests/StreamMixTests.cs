// Goal: every stream has its part of an epoch, no sample occurs more often than another of its stream by more than one,
// and what is chosen depends on (seed, epoch) alone.
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class StreamMixTests
{
    private static StreamShare Proportion(double value) => new(StreamShareKind.Proportion, value);

    private static StreamShare Repeat(double value) => new(StreamShareKind.Repeat, value);

    private static StreamShare Choose(double value) => new(StreamShareKind.Choose, value);

    [Fact]
    public void Parts_AreThoseOfMosaicStreaming()
    {
        // Proportions are of an epoch with as many samples as all streams together.
        Assert.Equal([750, 250], StreamMix.Of([100, 900], [Proportion(0.75), Proportion(0.25)]).Chosen);
        Assert.Equal([34, 33, 33], StreamMix.Of([20, 30, 50], [.. Enumerable.Repeat(Proportion(1 / 3.0), 3)]).Chosen);
        Assert.Equal([150, 100, 7], StreamMix.Of([100, 100, 10], [Repeat(1.5), StreamShare.Whole, Choose(7)]).Chosen);
        Assert.Equal([70], StreamMix.Of([100], [Repeat(0.7)]).Chosen);
        Assert.Equal(257, StreamMix.Of([100, 100, 10], [Repeat(1.5), StreamShare.Whole, Choose(7)]).Count);
    }

    [Fact]
    public void OnlyAMixtureThatChangesSomething_IsAPartOfARunsIdentity()
    {
        Assert.Null(StreamMix.Plain(3, 4).Name);
        Assert.Null(StreamMix.Of([3, 4], [StreamShare.Whole, Choose(4)]).Name);
        Assert.Equal("6 of 3, 4 of 4", StreamMix.Of([3, 4], [Repeat(2), StreamShare.Whole]).Name);
    }

    [Fact]
    public void EverySample_OccursAsOftenAsTheOthersOfItsStream_OrOnceMore() =>
        Gen.Select(Gen.ULong, Gen.Long[0, 9], Gen.Select(Gen.Int[1, 300], Gen.Int[1, 900]).Array[1, 4]).Sample(
            (seed, epoch, streams) =>
            {
                StreamMix mix = StreamMix.Of(
                    [.. streams.Select(stream => stream.Item1)], [.. streams.Select(stream => Choose(stream.Item2))]);
                int[] all = mix.Epoch(seed, epoch);
                Assert.Equal(all, mix.Epoch(seed, epoch));
                Assert.Equal(mix.Count, all.Length);
                int first = 0;
                foreach ((int samples, int chosen) in streams)
                {
                    int[] own = [.. all.Where(sample => sample >= first && sample < first + samples)];
                    Assert.Equal(chosen, own.Length);
                    Assert.All(
                        own.GroupBy(sample => sample),
                        group => Assert.InRange(group.Count(), chosen / samples, (chosen / samples) + 1));
                    Assert.True(chosen < samples || own.Distinct().Count() == samples);
                    first += samples;
                }
            });

    [Fact]
    public void APartOfAStream_IsAnotherInEveryEpoch_AndOfWholeBlocks()
    {
        StreamMix mix = StreamMix.Of([64 * 32], [Choose(256)]);
        int[][] epochs = [.. Enumerable.Range(0, 40).Select(epoch => mix.Epoch(1, epoch))];
        Assert.All(epochs, epoch => Assert.Equal(4, epoch.Select(sample => sample / 64).Distinct().Count()));
        Assert.InRange(epochs.SelectMany(epoch => epoch).Distinct().Count(), 30 * 64, 32 * 64);
        Assert.NotEqual(mix.Epoch(1, 0), mix.Epoch(2, 0));
    }

    [Fact]
    public void PartsThatCannotBe_AreRefused()
    {
        Assert.Contains("stream 1 has 10 samples, of which an epoch would have none", Assert.Throws<ArgumentException>(
            () => StreamMix.Of([100, 10], [StreamShare.Whole, Repeat(0.01)])).Message);
        Assert.Contains("an epoch has", Assert.Throws<ArgumentException>(
            () => StreamMix.Of([int.MaxValue], [Repeat(2)])).Message);
        Assert.Throws<ArgumentException>(() => StreamMix.Plain(int.MaxValue, 1));
    }
}

// Goal: an epoch contains every sample once, and a batch's samples depend neither on shards nor on the order of
// requests. Method: permutations by a plain shuffle.
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class SampleOrderTests
{
    [Fact]
    public void EveryEpoch_HoldsEverySampleOnce() =>
        Gen.Select(Gen.Int[1, 60], Gen.Long[0, 1L << 40]).Sample((count, epoch) =>
        {
            SampleOrder order = Order(count);
            return Enumerable.Range(0, count).Select(place => order[(epoch * count) + place]).Order()
                .SequenceEqual(Enumerable.Range(0, count));
        });

    [Fact]
    public void Positions_AskedInAnyOrder_GiveTheSameSamples() =>
        Gen.Select(Gen.Int[1, 20], Gen.Long[0, 200].Array[1, 30]).Sample((count, positions) =>
        {
            SampleOrder asked = Order(count);
            return positions.All(position => asked[position] == Order(count)[position]);
        });

    [Fact]
    public void Shards_CutTheOrderIntoPiecesThatMeet() =>
        Gen.Select(Gen.Int[0, 6], Gen.Int[1, 9], Gen.Long[0, 1L << 30]).Sample((level, microbatch, step) =>
        {
            var slices = new BatchSlices(1 << level, microbatch);
            long next = step * slices.GlobalBatch;
            for (int shard = 0; shard < slices.Shards; shard++)
            {
                Assert.Equal(next, slices.First(step, shard));
                next += microbatch;
            }

            Assert.Equal(next, slices.First(step + 1, 0));
        });

    [Fact]
    public void OrderOfNothing_AndPositionsBeforeTheStart_AreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Order(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Order(3)[-1]);
    }

    private static SampleOrder Order(int count) => new(count, epoch =>
    {
        int[] order = [.. Enumerable.Range(0, count)];
        new Random((int)(epoch % int.MaxValue)).Shuffle(order);
        return order;
    });
}

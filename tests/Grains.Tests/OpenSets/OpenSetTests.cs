// Goal: the set is bounded, tells whose submission had its time, and its partitions are the same everywhere. Method:
// explicit times; the hash is fixed by its values.
using Atelier.Contracts;
using Atelier.Grains.OpenSets;
using Xunit;

namespace Atelier.Grains.Tests.OpenSets;

public sealed class OpenSetTests
{
    private static readonly DateTimeOffset s_now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void FullPartition_RefusesNewIds_AndKnowsTheOldOnes()
    {
        var set = new OpenSet(new OpenSetState(), TimeSpan.FromSeconds(30));
        for (int i = 0; i < IOpenSetGrain.SizeMax; i++)
        {
            Assert.True(set.Add(Key(i), s_now));
        }

        Assert.False(set.Add(Key(-1), s_now));
        Assert.True(set.Add(Key(0), s_now));
        Assert.True(set.Remove(Key(0)));
        Assert.True(set.Add(Key(-1), s_now));
    }

    [Fact]
    public void Walk_TellsWhoseSubmissionHadItsTime()
    {
        var set = new OpenSet(new OpenSetState(), TimeSpan.FromSeconds(30));
        set.Add(Key(1), s_now);
        set.Add(Key(2), s_now.AddSeconds(20));
        Assert.Equal([true, false], set.Walk(s_now.AddSeconds(31)).OrderBy(q => q.Generation.Id.Value).Select(q => q.Late));
        set.Add(Key(1), s_now.AddSeconds(31));
        Assert.DoesNotContain(set.Walk(s_now.AddSeconds(31)), question => question.Late);
    }

    // Stored by a process whose clock was ahead, or behind: neither makes a submission late, nor keeps it for ever.
    [Theory]
    [InlineData(-8 * 24)]
    [InlineData(8 * 24)]
    public void AfterARestart_EverySubmissionHasItsTimeAnew(int hours)
    {
        var state = new OpenSetState();
        new OpenSet(state, TimeSpan.FromSeconds(30)).Add(Key(1), s_now.AddHours(hours));
        var set = new OpenSet(state, TimeSpan.FromSeconds(30));
        set.Restart(s_now);
        Assert.False(Assert.Single(set.Walk(s_now.AddSeconds(29))).Late);
        Assert.True(Assert.Single(set.Walk(s_now.AddSeconds(31))).Late);
    }

    [Fact]
    public void Partitions_AreSpreadEvenly_AndNeverChange()
    {
        int[] counts = new int[64];
        for (int i = 0; i < 64_000; i++)
        {
            counts[OpenSet.PartitionOf(Key(i), 64)]++;
        }

        Assert.All(counts, count => Assert.InRange(count, 800, 1200));
        Assert.Equal([17, 62, 55], new[] { 1, 2, 3 }.Select(i => OpenSet.PartitionOf(Key(i), 64)));
    }

    private static GenerationKey Key(int number) => new(new TenantId("t"), new GenerationId($"g{number + 1}"));
}

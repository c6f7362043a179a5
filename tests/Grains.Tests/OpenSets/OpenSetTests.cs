// Goal: the set is bounded and has room for 100,000, knows whose submission has expired, and nobody can choose ids that
// collide in a partition. Method: explicit times; hashes are pinned by their values; partitions are filled.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.OpenSets;
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
    public void Walk_ReportsExpiredSubmissions()
    {
        var set = new OpenSet(new OpenSetState(), TimeSpan.FromSeconds(30));
        set.Add(Key(1), s_now);
        set.Add(Key(2), s_now.AddSeconds(20));
        Assert.Equal(
            [true, false], set.Walk(s_now.AddSeconds(31)).OrderBy(q => q.Generation.Id.Value).Select(q => q.Late));
        set.Add(Key(1), s_now.AddSeconds(31));
        Assert.DoesNotContain(set.Walk(s_now.AddSeconds(31)), question => question.Late);
    }

    [Fact]
    public void ASubmission_IsLate_AfterItsWholeTime()
    {
        var set = new OpenSet(new OpenSetState(), TimeSpan.FromSeconds(30));
        set.Add(Key(1), s_now);
        Assert.False(Assert.Single(set.Walk(s_now.AddSeconds(30))).Late);
        Assert.True(Assert.Single(set.Walk(s_now.AddSeconds(30).AddTicks(1))).Late);
    }

    [Fact]
    public void ATenantsIds_AreItsOwn_AndWhatIsNoKeyIsPassedOver()
    {
        var state = new OpenSetState();
        var set = new OpenSet(state, TimeSpan.Zero);
        Assert.True(set.Add(Key(1), s_now));
        set.Add(Key(2), s_now);
        set.Add(Key(3, "t2"), s_now);
        state.Added["t/"] = s_now;
        state.Added["nothing"] = s_now;
        Assert.Equal(["g2", "g3"], set.Of(new TenantId("t")).Select(id => id.Value).Order());
        Assert.Equal(["g4"], set.Of(new TenantId("t2")).Select(id => id.Value));
        Assert.Empty(set.Of(new TenantId("g2")));
        Assert.Equal(3, set.Walk(s_now).Count);
        Assert.Equal(5, set.Count);
        Assert.Equal((true, false), (set.Remove(Key(1)), set.Remove(Key(1))));
        Assert.Equal(["g3"], set.Of(new TenantId("t")).Select(id => id.Value));
    }

    // Stored by a process whose clock was ahead or behind: this neither expires a submission nor keeps it forever.
    [Theory]
    [InlineData(-8 * 24)]
    [InlineData(8 * 24)]
    public void AfterARestart_EverySubmissionsTimeStartsAgain(int hours)
    {
        var state = new OpenSetState();
        new OpenSet(state, TimeSpan.FromSeconds(30)).Add(Key(1), s_now.AddHours(hours));
        var set = new OpenSet(state, TimeSpan.FromSeconds(30));
        set.Restart(s_now);
        Assert.False(Assert.Single(set.Walk(s_now.AddSeconds(29))).Late);
        Assert.True(Assert.Single(set.Walk(s_now.AddSeconds(31))).Late);
    }

    // Stored entries are found by these numbers, so they must not change.
    [Fact]
    public void Partitions_OfFormat0_NeverChange() =>
        Assert.Equal([17, 62, 55], new[] { 1, 2, 3 }.Select(i => OpenSet.PartitionOfFormat0(Key(i))));

    [Fact]
    public void Partitions_OfAKey_NeverChange()
    {
        byte[] key = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
        Assert.Equal([[59, 97], [15, 200]], new[] { 1, 2 }.Select(i => OpenSetMap.Spread(key, Key(i).ToString(), 256)));
    }

    // The second choice helps only if it is another one.
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(256)]
    public void AnId_HasTwoPartitions_ThatDiffer(int partitions)
    {
        byte[] key = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
        var seen = new HashSet<int>();
        for (int i = 0; i < 100; i++)
        {
            int[] two = OpenSetMap.Spread(key, Key(i).ToString(), partitions);
            Assert.Equal(2, two.Distinct().Count());
            Assert.All(two, partition => Assert.InRange(partition, 0, partitions - 1));
            seen.UnionWith(two);
        }

        Assert.True(seen.Count >= Math.Min(partitions, 64));
        Assert.Equal([0], OpenSetMap.Spread(key, Key(1).ToString(), 1));
    }

    // Ids that meet in one partition under the hash that anybody can compute, as an attacker chooses them.
    [Fact]
    public void IdsThatMeetInFormat0_AreSpreadByTheKey()
    {
        byte[] key = RandomNumberGenerator.GetBytes(32);
        int[] counts = new int[64];
        foreach (int i in Enumerable.Range(0, 640_000).Where(i => OpenSet.PartitionOfFormat0(Key(i)) == 5))
        {
            counts[OpenSetMap.Spread(key, Key(i).ToString(), 64)[0]]++;
        }

        Assert.All(counts, count => Assert.InRange(count, 80, 250));
    }

    [Theory]
    [InlineData(100, 1000)]
    [InlineData(10, 10_000)]
    public void AHundredThousand_AreOpenAtATime_AndOneTenantMoreFindsRoom(int tenants, int each)
    {
        var (enter, _, counts) = Cluster(new OpenSetOptions().Partitions);
        for (int tenant = 0; tenant < tenants; tenant++)
        {
            Assert.All(Enumerable.Range(0, each), i => Assert.True(enter(Key(i, $"t{tenant}"))));
        }

        // A tenant that fills its share, with ids of its choice, leaves room for everybody else.
        Assert.All(Enumerable.Range(0, 1000), i => Assert.True(enter(Key(i, "greedy"))));
        Assert.All(Enumerable.Range(0, 1000), i => Assert.True(enter(Key(i, $"late{i % 10}"))));
        Assert.Equal(102_000, counts().Sum());
    }

    [Fact]
    public void AFullPartition_RefusesNobody()
    {
        var (enter, spread, counts) = Cluster(16);
        GenerationKey[] ids =
            [.. Enumerable.Range(0, 20_000).Select(i => Key(i)).Where(one => spread(one)[0] == 3).Take(700)];
        Assert.All(ids, one => Assert.True(enter(one)));
        Assert.Equal((IOpenSetGrain.SizeMax, 700), (counts()[3], counts().Sum()));
        Assert.InRange(counts().Where((_, i) => i != 3).Max(), 1, 40);
    }

    // The real partitions, and ids that enter as generations do.
    private static (Func<GenerationKey, bool> Enter, Func<GenerationKey, int[]> Spread, Func<int[]> Counts) Cluster(
        int partitions)
    {
        byte[] key = RandomNumberGenerator.GetBytes(32);
        OpenSet[] sets =
            [.. Enumerable.Range(0, partitions).Select(_ => new OpenSet(new OpenSetState(), TimeSpan.Zero))];
        int[] Spread(GenerationKey one) => OpenSetMap.Spread(key, one.ToString(), partitions);
        return (
            one => Spread(one).Any(partition => sets[partition].Add(one, s_now)), Spread,
            () => [.. sets.Select(set => set.Count)]);
    }

    private static GenerationKey Key(int number, string tenant = "t") =>
        new(new TenantId(tenant), new GenerationId($"g{number + 1}"));
}

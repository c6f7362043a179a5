// Goal: ended work is forgotten completely when its retention time is over, and not before. Method: the clock of
// retention is advanced manually, independently of the wall clock; a generation that is due later than the others shows
// that a round has been completed.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.OpenSets;

public sealed class RetentionTests
{
    [Fact]
    public async Task EndedGenerations_AreForgotten_WhenTheirTimeIsOver()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 4));
        int before = cluster.Store.States.Count;
        for (int i = 0; i < 8; i++)
        {
            await cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) });
        }

        for (int i = 0; i < 8; i++)
        {
            await cluster.WatchAsync($"g{i}");
        }

        // Intermediate snapshots are released soon after the pictures are stored, not before.
        await TestCluster.UntilAsync(() => Task.FromResult(cluster.Blobs.Count == 8));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{cluster.Store.Writes / 8.0} writes and {cluster.Store.Bytes / 8.0} bytes a generation.");
        cluster.Clock.Pass(TimeSpan.FromDays(8));

        // Only the partitions remain, whose number is fixed; the lists of ended work are deleted last.
        await TestCluster.UntilAsync(() => Task.FromResult(
            cluster.Blobs.Count == 0 && cluster.Store.States.Count <= before + 4
            && !Stored(cluster, "generation").Any()));
        Assert.Equal(SubmitOutcome.Accepted, (await SubmitAsync(cluster, "g1", 1)).Outcome);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(-8)]
    public async Task AWallClockThatJumps_ForgetsNothing_AndRetentionContinues(int days)
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null, OnePartition);
        await EndAsync(cluster, "first");
        await HourAsync(cluster);
        await EndAsync(cluster, "second");
        await HourAsync(cluster);
        await EndAsync(cluster, "third");
        cluster.Clock.Shift = TimeSpan.FromDays(days);

        // The first shows that a round has started after the jump, the second that it has ended. After a jump back no
        // new grain is activated until the wall clock has caught up, so it does.
        cluster.Clock.Pass(TimeSpan.FromDays(7) - TimeSpan.FromHours(2));
        await HourAsync(cluster);
        cluster.Clock.Shift = TimeSpan.FromDays(Math.Max(0, days));
        await ForgottenAsync(cluster, "first");
        await HourAsync(cluster);
        await ForgottenAsync(cluster, "second");
        Assert.NotNull(await cluster.Generation("third").ViewAsync());
        await EndAsync(cluster, "fourth");
        await HourAsync(cluster);
        await ForgottenAsync(cluster, "third");
        Assert.NotNull(await cluster.Generation("fourth").ViewAsync());
    }

    [Fact]
    public async Task APageThatHadNoAnswer_IsSweptByTheNextRound()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null, OnePartition);
        for (int i = 0; i < IEndedListGrain.SizeMax; i++)
        {
            await Set(cluster).RemoveAsync(Key($"filler{i}"));
        }

        await EndAsync(cluster, "g");
        int failures = 0;
        string[] pages = [.. Stored(cluster, "endedlist").Order(StringComparer.Ordinal)];
        Assert.Equal(2, pages.Length);
        cluster.Store.Failing = key => pages.Contains(key) && Interlocked.Increment(ref failures) <= 2;
        cluster.Clock.Pass(TimeSpan.FromDays(8));
        await NothingAsync(cluster);
        Assert.True(failures > 2);
    }

    [Fact]
    public async Task ManyThatAreListedAtATime_LeaveNoGapBetweenPages_WhenOneFails()
    {
        // Walks take place only on request here.
        var period = TimeSpan.FromHours(1);
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, name => null, grains => (grains.OpenSet.Partitions, grains.OpenSet.WalkPeriod) = (1, period));
        await EndAsync(cluster, "a");
        await EndAsync(cluster, "b");
        await HourAsync(cluster);
        await Set(cluster).RemoveAsync(Key("first"));
        string full = Stored(cluster, "endedlist").Max(StringComparer.Ordinal)!;
        string next = full.Replace("/0/0/", "/0/1/", StringComparison.Ordinal);
        for (int i = 0; await Page(cluster, full).AddAsync(Key($"filler{i}")); i++)
        {
        }

        // A walk lists both again concurrently: both find the page full, and the first write to the next page fails.
        int held = 0, failures = 0;
        cluster.Calling = (_, key, _) =>
            full == $"endedlist/{key}/ended"
                && Interlocked.Increment(ref held) == 1 ? Task.Delay(500) : Task.CompletedTask;
        cluster.Store.Failing = key => key == next && Interlocked.Increment(ref failures) == 1;
        int before = await CountAsync(cluster);
        await Set(cluster).AddAsync(Key("a"));
        await Set(cluster).AddAsync(Key("b"));
        await TestCluster.UntilAsync(async () =>
        {
            await Set(cluster).WalkAsync();
            return failures > 0 && await CountAsync(cluster) == before;
        });
        cluster.Calling = null;
        cluster.Clock.Pass(TimeSpan.FromDays(8));
        await TestCluster.UntilAsync(() =>
        {
            cluster.Clock.Pass(period);
            return Task.FromResult(!Stored(cluster, "endedlist").Any());
        });
    }

    [Fact]
    public async Task AGenerationThatCannotBeForgotten_DelaysNoOther_AndIsForgottenLater()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null, OnePartition);
        await EndAsync(cluster, "good");
        await EndAsync(cluster, "bad");
        await HourAsync(cluster);
        await EndAsync(cluster, "later");
        cluster.Store.Failing = key => key == "generation/tenant/bad/generation";
        cluster.Clock.Pass(TimeSpan.FromDays(8));
        await TestCluster.UntilAsync(() => Task.FromResult(
            Stored(cluster, "generation").SequenceEqual(["generation/tenant/bad/generation"])));
        cluster.Store.Failing = null;
        await NothingAsync(cluster);
    }

    [Fact]
    public async Task AReusedId_IsNotForgottenWithItsEarlierEnd()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null, OnePartition);
        await EndAsync(cluster, "g");
        await HourAsync(cluster);

        // As by a walk an hour later, after the removal was lost.
        await Set(cluster).RemoveAsync(Key("g"));
        await HourAsync(cluster);
        await EndAsync(cluster, "mark");
        cluster.Clock.Pass(TimeSpan.FromDays(7) - TimeSpan.FromHours(1));
        await TestCluster.UntilAsync(async () =>
            (await SubmitAsync(cluster, "g", 2)).Outcome == SubmitOutcome.Accepted);
        await HourAsync(cluster);
        await HourAsync(cluster);
        await ForgottenAsync(cluster, "mark");
        Assert.Equal(GenerationPhase.QueuedEncode, (await cluster.Generation("g").ViewAsync())?.Phase);
    }

    private static void OnePartition(GrainsOptions grains) => grains.OpenSet.Partitions = 1;

    private static async Task<int> CountAsync(TestCluster cluster) =>
        (await Set(cluster).OfAsync(TestCluster.Tenant)).Length;

    private static GenerationKey Key(string id) => new(TestCluster.Tenant, new GenerationId(id));

    private static IOpenSetGrain Set(TestCluster cluster) => cluster.Grains.GetGrain<IOpenSetGrain>(0);

    private static IEndedListGrain Page(TestCluster cluster, string stored) =>
        cluster.Grains.GetGrain<IEndedListGrain>(string.Join('/', stored.Split('/')[1..^1]));

    private static IEnumerable<string> Stored(TestCluster cluster, string type) =>
        cluster.Store.States.Keys.Where(key =>
            key.StartsWith($"{type}/", StringComparison.Ordinal) && !key.Contains("/clock/", StringComparison.Ordinal));

    private static async Task EndAsync(TestCluster cluster, string id)
    {
        Assert.Equal(SubmitOutcome.Accepted, (await SubmitAsync(cluster, id, 1)).Outcome);
        Assert.Equal(GenerationPhase.Cancelled, (await cluster.Generation(id).CancelAsync())?.Phase);
    }

    private static Task NothingAsync(TestCluster cluster) => TestCluster.UntilAsync(() =>
        Task.FromResult(!Stored(cluster, "generation").Any() && !Stored(cluster, "endedlist").Any()));

    private static Task<SubmitAnswer> SubmitAsync(TestCluster cluster, string id, int seed) =>
        cluster.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(seed) });

    private static Task ForgottenAsync(TestCluster cluster, string id) =>
        TestCluster.UntilAsync(async () => await cluster.Generation(id).ViewAsync() is null);

    // An hour of the partition's clock passes, and the partition has noticed.
    private static async Task HourAsync(TestCluster cluster)
    {
        long? before = await Set(cluster).EnterAsync(Key("clock"));
        cluster.Clock.Pass(TimeSpan.FromHours(1));
        await TestCluster.UntilAsync(async () => await Set(cluster).EnterAsync(Key("clock")) > before);
    }
}

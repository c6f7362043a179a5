// Goal: a session's history contains everything accepted in it, once; a tenant has at most as many sessions as its
// limit allows; and unused sessions are forgotten. Method: writes that fail at chosen places, stored states as another
// release left them, and retention's clock advanced manually.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Sessions;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Tests.Simulation;
using Xunit;

namespace Atelier.Grains.Tests.Sessions;

public sealed class SessionTests
{
    [Fact]
    public async Task AWriteThatFailsAtAPagesEnd_LeavesNothingAcceptedOutOfTheHistory()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ISessionGrain session = Session(cluster, "s");
        await SubmitAsync(session, 0, ISessionPageGrain.Size - 1);
        int failures = 0;
        cluster.Store.Failing = key => key == "session/tenant/s/session" && Interlocked.Increment(ref failures) == 1;
        await Assert.ThrowsAnyAsync<Exception>(() => SubmitAsync(session, 900, 1));
        await TestCluster.UntilAsync(() => GrainCalls.TryAsync(() => SubmitAsync(session, 901, 1)));
        await SubmitAsync(session, 902, 1);
        string[] history = await HistoryAsync(session);
        Assert.NotEqual(0, failures);
        Assert.Equal(["g254", "g901", "g902"], history.TakeLast(3));
        Assert.Equal(ISessionPageGrain.Size + 1, history.Length);

        // The submission that had no answer is accepted and listed when it is sent again.
        await SubmitAsync(session, 900, 1);
        Assert.Single(await HistoryAsync(session), "g900");
    }

    [Fact]
    public async Task TheSameSubmission_AfterManyOthers_IsListedOnce_AndWhatIsGoneLeavesThePages()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ISessionGrain session = Session(cluster, "s");
        await SubmitAsync(session, 0, (2 * ISessionPageGrain.Size) + 10);
        SubmitAnswer again = await session.SubmitAsync(
            new GenerationId("g1"), new Submission { Spec = TestCluster.Spec(1) });
        Assert.Equal(SubmitOutcome.Exists, again.Outcome);
        Assert.Equal((2 * ISessionPageGrain.Size) + 10, (await session.ViewAsync())!.Generations);
        Assert.Single(await HistoryAsync(session), "g1");

        await cluster.Generation("g1").DeleteAsync();
        Assert.Equal((2 * ISessionPageGrain.Size) + 9, (await HistoryAsync(session)).Length);
        Assert.DoesNotContain(
            new GenerationId("g1"),
            Wire.Read<SessionPageState>(cluster.Store.States["sessionpage/tenant/s/0/page"].Bytes.ToArray()).Ids);
        Assert.Equal("g2", (await session.HistoryAsync(2, 1)).Items[0].Key.Id.Value);
    }

    [Fact]
    public async Task AFullSession_StillKnowsWhatItHas()
    {
        await using TestCluster first = await TestCluster.StartAsync(1, name => null);
        await SubmitAsync(Session(first, "s"), 1, 1);
        Change(first, "s", state => state.Count = ISessionGrain.GenerationsMax);
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null, twin: first);
        ISessionGrain session = Session(cluster, "s");
        var submission = new Submission { Spec = TestCluster.Spec(1) };
        Assert.Equal(SubmitOutcome.Exists, (await session.SubmitAsync(new GenerationId("g1"), submission)).Outcome);
        Assert.Equal(SubmitOutcome.Invalid, (await session.SubmitAsync(new GenerationId("g2"), submission)).Outcome);
    }

    [Fact]
    public async Task AnAttemptWithoutAnAnswer_IsNotInTheHistory_AndNotDeletedWithTheSession()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ISessionGrain session = Session(cluster, "s");
        await SubmitAsync(session, 1, 1);
        cluster.Store.Failing = key => key == "generation/tenant/g2/generation";
        await Assert.ThrowsAnyAsync<Exception>(() => SubmitAsync(session, 2, 1));
        cluster.Store.Failing = null;
        await TestCluster.UntilAsync(() => GrainCalls.TryAsync(async () => Assert.Equal(
            SubmitOutcome.Accepted,
            (await cluster.Generation("g2").SubmitAsync(new Submission { Spec = TestCluster.Spec(2) })).Outcome)));
        Assert.Equal(["g1"], await HistoryAsync(session));
        await DeleteAsync(session);
        Assert.Null(await cluster.Generation("g1").ViewAsync());
        Assert.NotNull(await cluster.Generation("g2").ViewAsync());
    }

    [Fact]
    public async Task ASubmissionThatADeletionOvertakes_LeavesNoPage()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ISessionGrain session = Session(cluster, "s");
        await SubmitAsync(session, 1, 1);
        for (int i = 1; i < ISessionPageGrain.Size; i++)
        {
            await cluster.Grains.GetGrain<ISessionPageGrain>("tenant/s/0").PutAsync(new GenerationId($"filler{i}"));
        }

        // It is being written to the second page, which the session does not know of.
        var arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.Calling = (_, key, _) =>
            key == "tenant/s/1" && arrived.TrySetResult() ? letGo.Task : Task.CompletedTask;
        Task<int?> late = session.ListAsync(new GenerationId("late"));
        await arrived.Task;
        await DeleteAsync(session);
        letGo.SetResult();
        Assert.Null(await late);
        Assert.Null(await session.ListAsync(new GenerationId("later")));
        Assert.DoesNotContain(Stored(cluster), key => key.StartsWith("sessionpage/", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Sessions_AreCountedOnce_RefusedBeyondTheLimit_AndFreedByDeletion()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        await cluster.Grains.Tenant(TestCluster.Tenant)
            .PutAsync(new TenantSettings { RequestsPerMinute = 100_000, Sessions = 3 });
        foreach (string id in new[] { "a", "b", "a", "c", "b" })
        {
            Assert.NotNull((await Session(cluster, id).BeginAsync()).View);
        }

        int writes = cluster.Store.Writes;
        Assert.Equal(SubmitOutcome.TooManySessions, (await Session(cluster, "d").BeginAsync()).Refusal?.Outcome);
        SubmitAnswer refused = await Session(cluster, "e").SubmitAsync(
            new GenerationId("g"), new Submission { Spec = TestCluster.Spec(1) });
        Assert.Equal(SubmitOutcome.TooManySessions, refused.Outcome);
        Assert.Equal(writes, cluster.Store.Writes);
        Assert.Null(await Session(cluster, "d").ViewAsync());
        Assert.Equal(["a", "b", "c"], await ListedAsync(cluster));
        await DeleteAsync(Session(cluster, "b"));
        Assert.NotNull((await Session(cluster, "d").BeginAsync()).View);
        Assert.Equal(SubmitOutcome.TooManySessions, (await Session(cluster, "e").BeginAsync()).Refusal?.Outcome);
        Assert.Equal(SubmitOutcome.Gone, (await Session(cluster, "b").BeginAsync()).Refusal?.Outcome);
        Assert.Equal(["a", "c", "d"], await ListedAsync(cluster));
    }

    [Fact]
    public async Task ASessionIsARequest_OfThoseAMinute()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        await cluster.Grains.Tenant(TestCluster.Tenant).PutAsync(new TenantSettings { RequestsPerMinute = 0 });
        Assert.Equal(SubmitOutcome.RateLimited, (await Session(cluster, "a").BeginAsync()).Refusal?.Outcome);
        Assert.Empty(await ListedAsync(cluster));
    }

    [Fact]
    public async Task UnusedAndDeletedSessions_AreForgotten_WhileUsedOnesStay()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, name => null, grains => grains.OpenSet.Partitions = 1);
        ISessionGrain used = Session(cluster, "used"), unused = Session(cluster, "unused");
        ISessionGrain deleted = Session(cluster, "deleted");
        await SubmitAsync(unused, 1, 1);
        await cluster.Generation("g1").CancelAsync();
        await used.BeginAsync();
        await deleted.BeginAsync();
        await DeleteAsync(deleted);
        for (int week = 0; week < 7; week++)
        {
            await used.BeginAsync();
            long listed = Hours(cluster).Max();
            cluster.Clock.Pass(TimeSpan.FromDays(7) + TimeSpan.FromHours(1));

            // Everything listed before has been examined; what remains is listed again.
            await TestCluster.UntilAsync(() => Task.FromResult(Hours(cluster).Min() > listed));
            Assert.True(week > 3 || Has(cluster, "unused"));
            Assert.True(week > 0 || Has(cluster, "deleted"));
        }

        Assert.False(Has(cluster, "unused") || Has(cluster, "deleted"));
        Assert.Equal(["used"], await ListedAsync(cluster));
        Assert.NotNull(await used.ViewAsync());
        Assert.DoesNotContain(Stored(cluster), key => key.StartsWith("sessionpage/", StringComparison.Ordinal));
        Assert.NotNull((await deleted.BeginAsync()).View);
    }

    [Fact]
    public async Task ASessionOfFormat0_IsCountedWhenItIsUsed_AndCanBeDeleted()
    {
        await using TestCluster first = await TestCluster.StartAsync(1, name => null);
        await SubmitAsync(Session(first, "used"), 1, 1);
        await SubmitAsync(Session(first, "deleted"), 2, 1);
        foreach (string id in new[] { "used", "deleted" })
        {
            Change(first, id, state =>
            {
                Assert.True(state is { IsListed: true, IsUsed: true });
                (state.IsListed, state.IsUsed) = (false, false);
            });
        }

        foreach (string key in Stored(first).Where(key => key.StartsWith("sessionlist/", StringComparison.Ordinal)))
        {
            first.Store.States.TryRemove(key, out _);
        }

        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null, twin: first);
        await cluster.Grains.Tenant(TestCluster.Tenant)
            .PutAsync(new TenantSettings { RequestsPerMinute = 100_000, Sessions = 0 });
        await SubmitAsync(Session(cluster, "used"), 3, 1);
        Assert.Equal(["g1", "g3"], await HistoryAsync(Session(cluster, "used")));
        Assert.Equal(["used"], await ListedAsync(cluster));
        await DeleteAsync(Session(cluster, "deleted"));
        Assert.Null(await cluster.Generation("g2").ViewAsync());
        Assert.Equal(["used"], await ListedAsync(cluster));
    }

    private static ISessionGrain Session(TestCluster cluster, string id) =>
        cluster.Grains.Session(new SessionKey(TestCluster.Tenant, new SessionId(id)));

    private static async Task SubmitAsync(ISessionGrain session, int first, int count)
    {
        for (int i = first; i < first + count; i++)
        {
            SubmitAnswer answer = await session.SubmitAsync(
                new GenerationId($"g{i}"), new Submission { Spec = TestCluster.Spec(i) });
            Assert.True(answer.IsAccepted, answer.Message);
        }
    }

    private static async Task<string[]> HistoryAsync(ISessionGrain session)
    {
        var ids = new List<string>();
        for (int? at = 0; at is { } start;)
        {
            HistoryPage page = await session.HistoryAsync(start, 100);
            ids.AddRange(page.Items.Select(view => view.Key.Id.Value));
            at = page.Next;
        }

        return [.. ids];
    }

    private static async Task DeleteAsync(ISessionGrain session)
    {
        while (!await session.DeleteAsync())
        {
        }
    }

    private static async Task<string[]> ListedAsync(TestCluster cluster)
    {
        SessionId[][] parts = await Task.WhenAll(Enumerable.Range(0, ISessionListGrain.Parts).Select(part =>
            cluster.Grains.GetGrain<ISessionListGrain>($"{TestCluster.Tenant}/{part}").ReadAsync()));
        return [.. parts.SelectMany(part => part).Select(id => id.Value).Order(StringComparer.Ordinal)];
    }

    private static bool Has(TestCluster cluster, string session) =>
        cluster.Store.States.ContainsKey($"session/tenant/{session}/session");

    private static IEnumerable<long> Hours(TestCluster cluster) => cluster.Store.States.Keys
        .Where(key => key.StartsWith("endedlist/", StringComparison.Ordinal))
        .Select(key => long.Parse(key.Split('/')[1], System.Globalization.CultureInfo.InvariantCulture));

    private static ICollection<string> Stored(TestCluster cluster) => cluster.Store.States.Keys;

    private static void Change(TestCluster cluster, string session, Action<SessionState> change)
    {
        string key = $"session/tenant/{session}/session";
        (BinaryData bytes, int tag) = cluster.Store.States[key];
        SessionState state = Wire.Read<SessionState>(bytes.ToArray());
        change(state);
        cluster.Store.States[key] = (BinaryData.FromBytes(Wire.Write(state)), tag);
    }
}

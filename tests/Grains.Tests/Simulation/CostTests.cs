// Goal: the cost of a generation in grain calls and durable writes is pinned, and a submission makes no call whose
// answer it does not use. Method: one generation alone in the simulated cluster, after another one has activated what
// is shared; every call and every write of a state is counted.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Simulation;

public sealed class CostTests
{
    private const int Steps = 20;
    private static readonly TenantId s_tenant = new("tenant");

    [Fact]
    public void Submission_IsAcceptedAfterTheseCallsAndWrites()
    {
        Counts submitted = Measure(isDrawn: false);
        Assert.Equal(
            [
                "generation.SubmitAsync", "modelcatalogue.FindAsync", "openset.EnterAsync", "tenant.AdmitAsync",
                "workqueue.OfferAsync",
            ],
            submitted.Calls.Order(StringComparer.Ordinal));
        Assert.Equal(["generation", "openset"], submitted.Writes.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Generation_IsDoneAfterFewWrites_WhateverItsSteps()
    {
        Counts whole = Measure(isDrawn: true);
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{whole.Calls.Count} calls\n{Table(whole.Calls)}\n{whole.Writes.Count} writes\n{Table(whole.Writes)}");
        Assert.InRange(whole.Writes.Count(write => write == "generation"), 4, 4 + Steps);
    }

    private static string Table(IEnumerable<string> names) => string.Join('\n', names
        .GroupBy(name => name, StringComparer.Ordinal).OrderBy(group => group.Key, StringComparer.Ordinal)
        .Select(group => $"  {group.Count(),4} {group.Key}"));

    // What the second of two generations costs: until its submission is answered, or until it has ended.
    private static Counts Measure(bool isDrawn)
    {
        var cluster = new SimulatedCluster(seed: 1);
        cluster.Boot("silo0", isDrawn ? new SimulatedDevice("cpu") : null);
        cluster.Run(
            async () =>
            {
                await cluster.Grains.Tenant(s_tenant).PutAsync(new TenantSettings { RequestsPerMinute = 1000 });
                await cluster.Grains.Catalog().RegisterAsync(FakeDevice.Card(0));
            },
            TimeSpan.FromSeconds(5));
        Submit(cluster, "first");
        if (isDrawn)
        {
            End(cluster);
        }

        cluster.Time.Run(() => false, TimeSpan.FromSeconds(2)); // What follows is settled.
        var (counts, submitted) = (new Counts(), new Counts());
        cluster.Sending = (grain, method) =>
        {
            counts.Calls.Add($"{grain.Split('/')[0]}.{method}");
            return true;
        };
        Action<string, byte[]?, byte[]?>? writing = cluster.Store.Writing;
        cluster.Store.Writing = (key, before, after) =>
        {
            counts.Writes.Add(key.Split('/')[0]);
            writing?.Invoke(key, before, after);
        };
        Submit(cluster, "second", () => submitted = new Counts([.. counts.Calls], [.. counts.Writes]));
        if (isDrawn)
        {
            End(cluster);
        }

        return isDrawn ? counts : submitted;
    }

    private static void Submit(SimulatedCluster cluster, string id, Action? then = null)
    {
        var key = new GenerationKey(s_tenant, new GenerationId(id));
        var submission = new Submission { Spec = TestCluster.Spec(id.Length, Steps) };
        cluster.Run(
            async () =>
            {
                Assert.True((await cluster.Grains.Generation(key).SubmitAsync(submission)).IsAccepted);
                cluster.Promises.Accepted.Add(key, submission);
                then?.Invoke();
            },
            TimeSpan.FromSeconds(5));
    }

    private static void End(SimulatedCluster cluster)
    {
        Assert.True(cluster.Time.Run(() => cluster.Promises.AllEnded, TimeSpan.FromSeconds(60)), cluster.Promises.Open);
        cluster.Time.Run(() => false, TimeSpan.FromSeconds(2));
        cluster.Check();
    }

    private sealed record Counts(List<string> Calls, List<string> Writes)
    {
        public Counts()
            : this([], [])
        {
        }
    }
}

// Goal: whatever died is replaced within the stated times, by the mechanism intended for it and by no other. Method:
// one fault at a time in the simulated cluster, over a few seeds; times are simulated.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Generations;
using Atelier.Grains.Queueing;
using Atelier.Grains.Tenants;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Simulation;

public sealed class RecoverySimulationTests
{
    private const int Seeds = 12;
    private static readonly TenantId s_tenant = new("tenant");
    private static readonly TimeSpan s_lease = new WorkQueueOptions().LeaseTime;

    [Fact]
    public void QueueThatDiesDuringAWalk_HasAllItsWorkAgain_WithinSeconds() => Each((cluster, _) =>
    {
        Start(cluster, devices: 0);
        SubmitMany(cluster, 40);

        // The first death starts a walk with slow calls; the second happens while it is running.
        cluster.Network = new Weather { Slow = 1, SlowMax = TimeSpan.FromSeconds(0.5) };
        Deactivate<WorkQueueGrain>(cluster);
        cluster.Run(() => AgainAsync(cluster, () => Queue(cluster).StatusAsync()), TimeSpan.FromSeconds(20));
        cluster.Time.Run(() => false, TimeSpan.FromSeconds(0.6));
        Deactivate<WorkQueueGrain>(cluster);
        cluster.Until(
            async () => (await AgainAsync(cluster, () => Queue(cluster).StatusAsync())).Waiting == 40,
            TimeSpan.FromSeconds(12));
    });

    [Fact]
    public void SiloThatLeaves_HandsItsWorkOver_BeforeItsLeaseEnds() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 2);
        GenerationKey key = Submit(cluster, "g", steps: 100);
        GenerationState? State() => promises.Stored.GetValueOrDefault(key);
        Assert.True(cluster.Time.Run(
            () => State() is { Phase: GenerationPhase.Denoising, SnapshotStep: > 2 }, TimeSpan.FromSeconds(20)));
        SimulatedSilo holder = cluster.Silos.Single(silo => silo.WorkerName == State()!.Claim!.Worker);
        _ = cluster.ClientAsync(() => cluster.LeaveAsync(holder));
        Assert.True(
            cluster.Time.Run(
                () => State()!.Claim is { } claim && claim.Worker != holder.WorkerName,
                s_lease - TimeSpan.FromSeconds(2)),
            cluster.Story(null));
    });

    [Fact]
    public void WorkerThatDies_IsReplaced_WhenItsLeaseHasEnded() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 2);
        GenerationKey key = Submit(cluster, "g", steps: 100);
        GenerationState? State() => promises.Stored.GetValueOrDefault(key);
        Assert.True(cluster.Time.Run(
            () => State() is { Phase: GenerationPhase.Denoising, SnapshotStep: > 2 }, TimeSpan.FromSeconds(20)));
        SimulatedSilo holder = cluster.Silos.Single(silo => silo.WorkerName == State()!.Claim!.Worker);
        cluster.Kill(holder);
        TimeSpan patience = s_lease + SimulatedCluster.DetectionMax + SimulatedCluster.CallTimeout;
        Assert.True(
            cluster.Time.Run(() => State()!.Claim is { } claim && claim.Worker != holder.WorkerName, patience),
            cluster.Story(null));
    });

    [Fact]
    public void WorkThatIsDone_LeavesTheQueueAtOnce() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 1);
        SubmitMany(cluster, 3);
        AllEnd(cluster, promises, TimeSpan.FromSeconds(30));
        cluster.Until(
            async () => await Queue(cluster).StatusAsync() is { Waiting: 0, Leased: 0 }, TimeSpan.FromSeconds(1));
    });

    [Fact]
    public void WorkThatIsCancelled_LeavesTheQueueAtOnce() => Each((cluster, _) =>
    {
        Start(cluster, devices: 0);
        SubmitMany(cluster, 3);
        cluster.Run(() => cluster.Grains.Generation(Key("g1")).CancelAsync(), TimeSpan.FromSeconds(1));
        cluster.Until(async () => (await Queue(cluster).StatusAsync()).Waiting == 2, TimeSpan.FromSeconds(1));
    });

    [Fact]
    public void ReminderAlone_FindsWorkThatNoQueueKnows() => Each((cluster, promises) =>
    {
        // Walks that a queue requests do not arrive.
        Start(cluster, devices: 0);
        SubmitMany(cluster, 5);
        cluster.Sending = (_, method) => method != nameof(IOpenSetGrain.WalkAsync);
        Deactivate<WorkQueueGrain>(cluster);
        cluster.Boot("silo9", new SimulatedDevice("cpu"));
        AllEnd(cluster, promises, cluster.Options.OpenSet.WalkPeriod + TimeSpan.FromSeconds(15));
    });

    [Fact]
    public void TenantThatStartsElsewhere_KnowsWhatIsOpen_AfterAWalk() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 0, new TenantSettings { OpenGenerations = 3, RequestsPerMinute = 1000 });
        SubmitMany(cluster, 3);
        Deactivate<TenantGrain>(cluster);
        cluster.Run(async () => await Task.WhenAll(
            Enumerable.Range(0, cluster.Options.OpenSet.Partitions)
                .Select(i => cluster.Grains.GetGrain<IOpenSetGrain>(i).WalkAsync())), TimeSpan.FromSeconds(2));
        cluster.Until(
            async () => (await cluster.Grains.Tenant(s_tenant).ViewAsync())?.Open == 3, TimeSpan.FromSeconds(2));
        cluster.Run(
            async () => Assert.Equal(
                SubmitOutcome.TooManyOpen,
                (await cluster.Grains.Generation(Key("g9")).SubmitAsync(Submission(9, 5))).Outcome),
            TimeSpan.FromSeconds(2));
        cluster.Boot("silo9", new SimulatedDevice("cpu"));
        AllEnd(cluster, promises, TimeSpan.FromSeconds(30));
        cluster.Until(
            async () => (await cluster.Grains.Tenant(s_tenant).ViewAsync())?.Open == 0, TimeSpan.FromSeconds(2));
    });

    [Fact]
    public void ClusterThatIsKilledAtAnAnswer_DrawsWhatItAccepted() => Each((cluster, promises) =>
    {
        // Writes are slow, so an answer that does not wait for one arrives first.
        Start(cluster, devices: 0);
        cluster.Store.StateWeather = new Weather { Slow = 1, SlowMax = TimeSpan.FromSeconds(1) };
        Submit(cluster, "g", steps: 5, () =>
        {
            cluster.Silos.ForEach(cluster.Kill);
            cluster.Boot("silo9", new SimulatedDevice("cpu"));
        });
        cluster.Store.StateWeather = new Weather();
        AllEnd(cluster, promises, cluster.Options.OpenSet.WalkPeriod + TimeSpan.FromSeconds(30));
    });

    [Fact]
    public void SubmissionThatTheOpenSetRejects_IsNotAccepted() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 0);
        cluster.Store.Refusing = key => key.StartsWith("openset/", StringComparison.Ordinal);
        cluster.Run(
            () =>
                Assert.ThrowsAnyAsync<Exception>(
                    () => cluster.Grains.Generation(Key("g0")).SubmitAsync(Submission(0, 5))),
            TimeSpan.FromSeconds(10));
        cluster.Store.Refusing = null;
        Assert.Empty(promises.Stored);

        // And where there is no room, it is refused.
        cluster.Options.OpenSet.Partitions = 1;
        cluster.Run(
            async () =>
            {
                IOpenSetGrain set = cluster.Grains.GetGrain<IOpenSetGrain>(0);
                for (int i = 0; await AgainAsync(cluster, () => set.AddAsync(Key($"filler{i}"))); i++)
                {
                }

                SubmitAnswer answer = await AgainAsync(
                    cluster, () => cluster.Grains.Generation(Key("g1")).SubmitAsync(Submission(1, 5)));
                Assert.Equal(SubmitOutcome.Busy, answer.Outcome);
            },
            TimeSpan.FromSeconds(60));
        Assert.Empty(promises.Stored);

        // The first one leaves a hint, which a worker finds to be obsolete.
        cluster.Until(async () => (await Queue(cluster).StatusAsync()).Waiting == 1, TimeSpan.FromSeconds(2));
    }, seeds: 2);

    [Fact]
    public void SessionOfSeveralPages_IsDeletedToItsLastPage() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 0);
        var session = new SessionKey(s_tenant, new SessionId("s"));
        promises.Deleting.UnionWith([Key("first"), Key("last")]);
        cluster.Run(
            async () =>
            {
                Task<SubmitAnswer> SubmitAsync(string id) =>
                    cluster.Grains.Session(session).SubmitAsync(new GenerationId(id), Submission(1, 5));
                Assert.True((await SubmitAsync("first")).IsAccepted);
                for (int i = 0; i < (2 * ISessionPageGrain.Size) - 1; i++)
                {
                    await cluster.Grains.Session(session).ListAsync(new GenerationId($"filler{i}"));
                }

                Assert.True((await SubmitAsync("last")).IsAccepted);
                while (!await cluster.Grains.Session(session).DeleteAsync())
                {
                }
            },
            TimeSpan.FromSeconds(60));
        Assert.All(promises.Stored.Values, state => Assert.Equal(GenerationClosure.Deleted, state.Closure));
        Assert.DoesNotContain(
            cluster.Store.States.Keys, key => key.StartsWith("sessionpage/", StringComparison.Ordinal));
    }, seeds: 2);

    [Fact]
    public void WhatTheOtherSideOfAPartitionAccepted_IsFound_WithinAWalk() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 0);
        SimulatedSilo other = Part(cluster, async grains =>
        {
            Assert.Null(await grains.Generation(Key("g")).ViewAsync());
            await Task.WhenAll(Enumerable.Range(0, cluster.Options.OpenSet.Partitions)
                .Select(i => grains.GetGrain<IOpenSetGrain>(i).OfAsync(s_tenant)));
        });
        cluster.Run(
            async () => Assert.True((await other.Grains.Generation(Key("g")).SubmitAsync(Submission(1, 5))).IsAccepted),
            TimeSpan.FromSeconds(5));
        promises.Accepted.Add(Key("g"), Submission(1, 5));
        cluster.Kill(other);
        cluster.Boot("silo9", new SimulatedDevice("cpu"));
        AllEnd(cluster, promises, cluster.Options.OpenSet.WalkPeriod + TimeSpan.FromSeconds(15));
    }, seeds: 3);

    [Fact]
    public void SessionThatTheOtherSideOfAPartitionBegan_IsDeleted() => Each((cluster, promises) =>
    {
        Start(cluster, devices: 0);
        var session = new SessionKey(s_tenant, new SessionId("s"));
        SimulatedSilo other = Part(
            cluster, async grains => Assert.Null(await grains.Session(session).ViewAsync()));
        promises.Deleting.Add(Key("g"));
        cluster.Run(
            async () =>
            {
                SubmitAnswer answer = await other.Grains.Session(session).SubmitAsync(Key("g").Id, Submission(1, 5));
                Assert.True(answer.IsAccepted);
                cluster.Kill(other);
                while (!await AgainAsync(cluster, () => cluster.Grains.Session(session).DeleteAsync()))
                {
                }
            },
            TimeSpan.FromSeconds(60));
        Assert.Equal(GenerationClosure.Deleted, promises.Stored[Key("g")].Closure);
    }, seeds: 3);

    // Cuts a silo off; the others have activations of their own, which read the store before anything new is written.
    private static SimulatedSilo Part(SimulatedCluster cluster, Func<IGrainFactory, Task> touch)
    {
        SimulatedSilo other = cluster.Silos[1];
        cluster.CutOff(other);
        cluster.Time.Run(() => false, SimulatedCluster.DetectionMax);
        cluster.Run(() => touch(cluster.Silos[0].Grains), TimeSpan.FromSeconds(5));
        return other;
    }

    private static void Each(Action<SimulatedCluster, Promises> scenario, int seeds = Seeds)
    {
        for (int seed = 0; seed < seeds; seed++)
        {
            var cluster = new SimulatedCluster(seed);
            try
            {
                scenario(cluster, cluster.Promises);
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"seed={seed}: {error.Message}", error);
            }
        }
    }

    private static void Start(SimulatedCluster cluster, int devices, TenantSettings? settings = null)
    {
        for (int i = 0; i < Math.Max(2, devices); i++)
        {
            cluster.Boot($"silo{i}", i < devices ? new SimulatedDevice("cpu") : null);
        }

        cluster.Run(
            async () =>
            {
                await cluster.Grains.Tenant(s_tenant).PutAsync(
                    settings ?? new TenantSettings { RequestsPerMinute = 1000 });
                await cluster.Grains.Catalog().RegisterAsync(FakeDevice.Card(0));
            },
            TimeSpan.FromSeconds(5));
    }

    private static void SubmitMany(SimulatedCluster cluster, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Submit(cluster, $"g{i}", steps: 5);
        }
    }

    // The work after an acceptance happens at the moment of the answer.
    private static GenerationKey Submit(SimulatedCluster cluster, string id, int steps, Action? then = null)
    {
        GenerationKey key = Key(id);
        Submission submission = Submission(id.Length, steps);
        cluster.Run(
            async () =>
            {
                SubmitAnswer answer = await AgainAsync(
                    cluster, () => cluster.Grains.Generation(key).SubmitAsync(submission));
                Assert.True(answer.IsAccepted, $"{answer.Outcome}: {answer.Message}");
                cluster.Promises.Accepted.Add(key, submission);
                then?.Invoke();
            },
            TimeSpan.FromSeconds(40));
        return key;
    }

    private static void AllEnd(SimulatedCluster cluster, Promises promises, TimeSpan limit)
    {
        bool ended = cluster.Time.Run(() => promises.AllEnded || cluster.Fault is not null, limit);
        cluster.Check();
        Assert.True(ended, promises.Open);
        promises.CheckEnds();
    }

    private static async Task<T> AgainAsync<T>(SimulatedCluster cluster, Func<Task<T>> call)
    {
        while (true)
        {
            try
            {
                return await call();
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                await cluster.DelayAsync(TimeSpan.FromMilliseconds(100));
            }
        }
    }

    private static void Deactivate<T>(SimulatedCluster cluster)
    {
        foreach (SimulatedActivation one in cluster.Activations.Where(one => one.Type == typeof(T)).ToArray())
        {
            one.Deactivate();
        }
    }

    private static IWorkQueueGrain Queue(SimulatedCluster cluster) => cluster.Grains.WorkQueue();

    private static GenerationKey Key(string id) => new(s_tenant, new GenerationId(id));

    private static Submission Submission(int seed, int steps) => new() { Spec = TestCluster.Spec(seed, steps) };
}

// Goal: the protocols keep their promises in a running cluster. Method: in-process silos with fake devices; streams are
// watched to their last event, so no test sleeps for a result.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.Grains.Tests.Cluster;
using Xunit;
using InProcessSiloHandle = Orleans.TestingHost.InProcessSiloHandle;

namespace Atelier.Grains.Tests.Generations;

public sealed class GenerationGrainTests
{
    [Fact]
    public async Task Submitted_IsWatchedToItsPicture_WithItsBytes()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 4));
        GenerationSpec spec = TestCluster.Spec(1);
        var submission = new Submission { Spec = spec, Previews = 3 };
        SubmitAnswer answer = await cluster.SubmitAsync("one", submission);
        Assert.Equal(SubmitOutcome.Accepted, answer.Outcome);
        List<GenerationEvent> events = await cluster.WatchAsync("one");
        Assert.Equal(7 + spec.Steps, events.Count);
        Assert.Equal(events.Select(e => e.Number), events.Select(e => e.Number).Distinct().Order());
        Assert.Equal([0, 1, 2], events.Where(e => e.Preview is not null).Select(e => e.PreviewIndex));
        Assert.Equal(GenerationPhase.Done, events[^1].Phase);
        Assert.Equal(FakeDevice.Undisturbed(spec), cluster.Blobs[events[^1].Picture!.Value]);

        // The same request again is the same generation; another request under its id is not; intermediate blobs are
        // gone.
        Assert.Equal(SubmitOutcome.Exists, (await cluster.SubmitAsync("one", submission)).Outcome);
        Assert.Equal(
            SubmitOutcome.Conflict,
            (await cluster.SubmitAsync("one", submission with { Spec = spec with { Seed = 9 } })).Outcome);
        Assert.Equal(4, cluster.Blobs.Count);
        await cluster.Generation("one").DeleteAsync();
        Assert.Null(await cluster.Generation("one").ViewAsync());
        Assert.Equal(0, cluster.Blobs.Count);
        Assert.Equal(SubmitOutcome.Gone, (await cluster.SubmitAsync("one", submission)).Outcome);
    }

    [Fact]
    public async Task AnEndedOneWithALongPrompt_IsWatchedFromItsStart_ThoughItLeavesMemory()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 4));
        GenerationSpec spec = TestCluster.Spec(1, 300) with { Prompt = new string('p', 9000) };
        await cluster.SubmitAsync("long", new Submission { Spec = spec });
        List<GenerationEvent> live = await cluster.WatchAsync("long"), again = await cluster.WatchAsync("long");
        Assert.Equal(7 + spec.Steps, live.Count);
        Assert.Equal(live.Select(one => one.Number), again.Select(one => one.Number));
    }

    [Fact]
    public async Task AnEndedOneWithALongPrompt_AnswersManyAtATime()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        GenerationSpec spec = TestCluster.Spec(1) with { Prompt = new string('p', 9000) };
        await cluster.SubmitAsync("long", new Submission { Spec = spec });
        await cluster.Generation("long").CancelAsync();
        for (int round = 0; round < 20; round++)
        {
            GenerationView?[] views = await Task.WhenAll(
                Enumerable.Range(0, 50).Select(_ => cluster.Generation("long").ViewAsync()));
            Assert.All(views, view => Assert.Equal(GenerationPhase.Cancelled, view?.Phase));

            // The next round finds the grain inactive, or about to be.
            if (round % 2 == 0)
            {
                await TestCluster.UntilAsync(async () => await ActivationsAsync(cluster) == 0);
            }
        }
    }

    [Fact]
    public async Task AnEndedOneWithALongPrompt_LeavesMemory_AfterLaterCallsToo()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        GenerationSpec spec = TestCluster.Spec(1) with { Prompt = new string('p', 9000) };
        await cluster.SubmitAsync("long", new Submission { Spec = spec });
        Assert.Equal(1, await ActivationsAsync(cluster));
        await cluster.Generation("long").CancelAsync();
        await TestCluster.UntilAsync(async () => await ActivationsAsync(cluster) == 0);

        // A worker that comes too late.
        await cluster.Generation("long").ClaimAsync(
            new ClaimRequest("late", 1, WorkKind.Encode, "cpu", Alone: false, 1));
        await TestCluster.UntilAsync(async () => await ActivationsAsync(cluster) == 0);
    }

    [Fact]
    public async Task WrongSubmissions_AreAnsweredWithAMessage()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        GenerationSpec spec = TestCluster.Spec(1);
        Assert.Equal(
            SubmitOutcome.Invalid,
            (await cluster.SubmitAsync("a", new Submission { Spec = spec with { Steps = 0 } })).Outcome);
        Assert.Equal(
            SubmitOutcome.Invalid,
            (await cluster.SubmitAsync("a", new Submission { Spec = spec, Previews = 4 })).Outcome);
        SubmitAnswer size = await cluster.SubmitAsync("a", new Submission { Spec = spec with { Width = 63 } });
        Assert.Equal("This model draws pictures of 64x64, not of 63x64.", size.Message);
        GenerationSpec unknown = spec with { Model = new ModelDigest(new string('b', 64)) };
        Assert.Equal(
            SubmitOutcome.UnknownModel, (await cluster.SubmitAsync("a", new Submission { Spec = unknown })).Outcome);
        var stranger = new GenerationKey(new TenantId("stranger"), new GenerationId("a"));
        Assert.Equal(
            SubmitOutcome.UnknownTenant,
            (await cluster.Grains.Generation(stranger).SubmitAsync(new Submission { Spec = spec })).Outcome);
        await cluster.Grains.Tenant(TestCluster.Tenant).PutAsync(new TenantSettings { OpenGenerations = 1 });
        Assert.Equal(SubmitOutcome.Accepted, (await cluster.SubmitAsync("a", new Submission { Spec = spec })).Outcome);
        Assert.Equal(
            SubmitOutcome.TooManyOpen, (await cluster.SubmitAsync("b", new Submission { Spec = spec })).Outcome);
        Assert.Equal(GenerationPhase.Cancelled, (await cluster.Generation("a").CancelAsync())!.Phase);
        Assert.Equal(SubmitOutcome.Accepted, (await cluster.SubmitAsync("b", new Submission { Spec = spec })).Outcome);
    }

    [Fact]
    public async Task AModelThatCannotBeLoaded_DoesNotDelayAnother_AndReturnsOnceItCan()
    {
        var device = new FakeDevice("d", 4, models: 2) { Damaged = FakeDevice.ModelOf(0) };
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, name => device, grains => grains.Worker.RefusedModelPause = TimeSpan.FromMilliseconds(200));
        await cluster.Grains.Catalog().RegisterAsync(FakeDevice.Card(1));
        await cluster.SubmitAsync("damaged", new Submission { Spec = TestCluster.Spec(1) });
        await cluster.SubmitAsync("sound", new Submission { Spec = TestCluster.Spec(2, model: 1) });
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("sound"))[^1].Phase);
        Assert.Equal(GenerationPhase.QueuedEncode, (await cluster.Generation("damaged").ViewAsync())!.Phase);
        device.Damaged = null;
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("damaged"))[^1].Phase);
    }

    [Fact]
    public async Task CancelledWhileItRuns_FreesItsSlot()
    {
        var device = new FakeDevice("d", 1) { Pace = TimeSpan.FromMilliseconds(20) };
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device);
        await cluster.SubmitAsync("long", new Submission { Spec = TestCluster.Spec(1, 1000) });
        await foreach (GenerationEvent one in cluster.Generation("long").WatchAsync(
            EventNumber.Before, TestContext.Current.CancellationToken))
        {
            if (one.Step == 2)
            {
                break;
            }
        }

        await cluster.SubmitAsync("short", new Submission { Spec = TestCluster.Spec(2, 3) });
        Assert.Equal(GenerationPhase.Cancelled, (await cluster.Generation("long").CancelAsync())!.Phase);
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("short"))[^1].Phase);
        Assert.Equal(GenerationPhase.Cancelled, (await cluster.WatchAsync("long"))[^1].Phase);
    }

    [Fact]
    public async Task ManyGenerations_ShareEvaluations_AndHaveTheirOwnBytes()
    {
        // Evaluations that take longer than a claim; otherwise, on a busy machine, pictures end before others have
        // joined.
        var device = new FakeDevice("d", 8) { Pace = TimeSpan.FromMilliseconds(20) };
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device);
        GenerationSpec[] specs = [.. Enumerable.Range(0, 40).Select(i => TestCluster.Spec(i, 3 + (i % 7)))];
        await Task.WhenAll(specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec })));
        List<GenerationEvent>[] all = await Task.WhenAll(specs.Select((_, i) => cluster.WatchAsync($"g{i}")));
        Assert.All(specs.Zip(all), pair =>
            Assert.Equal(FakeDevice.Undisturbed(pair.First), cluster.Blobs[pair.Second[^1].Picture!.Value]));
        Assert.InRange(device.Largest, 5, 8);
        Assert.True(device.Evaluations < specs.Sum(spec => spec.Evaluations) / 2);
    }

    [Fact]
    public async Task SiloKilledDuringAGeneration_LosesNothing_AndChangesNoByte()
    {
        var devices = new Dictionary<string, FakeDevice>(StringComparer.Ordinal);
        await using TestCluster cluster = await TestCluster.StartAsync(3, name =>
        {
            lock (devices)
            {
                return devices[name] = new FakeDevice("d", 2) { Pace = TimeSpan.FromMilliseconds(10) };
            }
        });
        GenerationSpec[] specs = [.. Enumerable.Range(0, 12).Select(i => TestCluster.Spec(i, 40))];
        await Task.WhenAll(
            specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec, Previews = 2 })));
        Task<List<GenerationEvent>>[] watches = [.. specs.Select((_, i) => cluster.WatchAsync($"g{i}"))];
        await foreach (GenerationEvent one in cluster.Generation("g1").WatchAsync(
            EventNumber.Before, TestContext.Current.CancellationToken))
        {
            if (one.Step == 5)
            {
                break;
            }
        }

        // Not the first silo, to which the test's client is connected.
        InProcessSiloHandle victim = cluster.Silos.Silos[^1];
        devices[victim.Name].Die();
        await cluster.Silos.KillSiloAsync(victim, TestContext.Current.CancellationToken);
        List<GenerationEvent>[] all = await Task.WhenAll(watches);

        // A worker's grain must not activate on a silo without its device.
        await Assert.ThrowsAnyAsync<Exception>(() => cluster.Grains.Worker($"{victim.Name}/d").StatusAsync());
        for (int i = 0; i < specs.Length; i++)
        {
            Assert.Equal(GenerationPhase.Done, all[i][^1].Phase);
            Assert.Equal(FakeDevice.Undisturbed(specs[i]), cluster.Blobs[all[i][^1].Picture!.Value]);
            Assert.Equal(47, all[i].Count);
            Assert.Equal(2, all[i].Count(e => e.Preview is not null));
        }
    }

    [Fact]
    public async Task TwoModels_OnOneWorkerWithMemoryForOne_AreBothServed()
    {
        var device = new FakeDevice("d", 4, models: 2);
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device);
        await TestCluster.UntilAsync(async () => (await cluster.Grains.Catalog().ListAsync()).Length == 2);

        GenerationSpec[] specs = [.. Enumerable.Range(0, 12).Select(i => TestCluster.Spec(i, 5, i % 2))];
        await Task.WhenAll(specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec })));
        for (int i = 0; i < specs.Length; i++)
        {
            List<GenerationEvent> events = await cluster.WatchAsync($"g{i}");
            Assert.Equal(FakeDevice.Undisturbed(specs[i]), cluster.Blobs[events[^1].Picture!.Value]);
        }

        Assert.True(device.Loads >= 2);
    }

    [Fact]
    public async Task ATenantOfAnotherModel_IsServedWhileOthersKeepAllWorkersBusy()
    {
        FakeDevice[] devices = [.. Enumerable.Range(0, 2).Select(_ => new FakeDevice("d", 2, models: 2))];
        int next = 0;
        await using TestCluster cluster = await TestCluster.StartAsync(2, _ => devices[next++]);
        var other = new TenantId("other");
        await cluster.Grains.Tenant(other).PutAsync(new TenantSettings());
        await TestCluster.UntilAsync(async () => (await cluster.Grains.Catalog().ListAsync()).Length == 2);
        for (int i = 0; i < 8; i++)
        {
            await cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i, 1000) });
        }

        IWorkQueueGrain queue = cluster.Grains.WorkQueue();
        await TestCluster.UntilAsync(async () => (await queue.StatusOfAsync(FakeDevice.ModelOf(0))).Leased == 4);
        IGenerationGrain generation = cluster.Grains.Generation(new GenerationKey(other, new GenerationId("g")));
        await generation.SubmitAsync(new Submission { Spec = TestCluster.Spec(1, 10, model: 1) });
        await TestCluster.UntilAsync(async () => (await generation.ViewAsync())!.Phase == GenerationPhase.Done);
        for (int i = 0; i < 8; i++)
        {
            Assert.True((await cluster.Generation($"g{i}").ViewAsync())!.Phase < GenerationPhase.Done);
        }

        // One of two workers has changed, and changes back.
        await TestCluster.UntilAsync(async () => (await queue.StatusOfAsync(FakeDevice.ModelOf(0))).Leased == 4);
        Assert.InRange(devices.Sum(device => device.Loads), 3, 5);
    }

    [Fact]
    public async Task RolesOnDifferentSilos_MakeAPictureTogether()
    {
        var devices = new Dictionary<string, FakeDevice>(StringComparer.Ordinal);
        await using TestCluster cluster = await TestCluster.StartAsync(
            3,
            name =>
            {
                lock (devices)
                {
                    return devices[name] = new FakeDevice("d", 2, roles: (WorkRoles)(1 << devices.Count));
                }
            });
        GenerationSpec[] specs = [.. Enumerable.Range(0, 6).Select(i => TestCluster.Spec(i))];
        await Task.WhenAll(specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec })));
        for (int i = 0; i < specs.Length; i++)
        {
            List<GenerationEvent> events = await cluster.WatchAsync($"g{i}");
            Assert.Equal(FakeDevice.Undisturbed(specs[i]), cluster.Blobs[events[^1].Picture!.Value]);
        }

        foreach ((FakeDevice device, int i) in devices.Values.Select((device, i) => (device, i)))
        {
            Assert.All(device.Done, done => Assert.Equal((int)done.Key == i ? 6 : 0, done.Value));
        }
    }

    [Fact]
    public async Task DrainedWorker_HandsItsWorkOver_WithoutADeath()
    {
        var devices = new Dictionary<string, FakeDevice>(StringComparer.Ordinal);
        await using TestCluster cluster = await TestCluster.StartAsync(2, name =>
        {
            lock (devices)
            {
                return devices[name] = new FakeDevice("d", 1) { Pace = TimeSpan.FromMilliseconds(10) };
            }
        });
        GenerationSpec[] specs = [.. Enumerable.Range(0, 2).Select(i => TestCluster.Spec(i, 50))];
        await Task.WhenAll(specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec })));
        string name = cluster.Silos.Silos[^1].Name;
        IWorkerGrain worker = cluster.Grains.Worker(new WorkerKey(name, "d").ToString());
        await TestCluster.UntilAsync(async () => (await worker.StatusAsync()).Held > 0);

        await worker.DrainAsync();
        Assert.Equal(0, (await worker.StatusAsync()).Held);
        for (int i = 0; i < specs.Length; i++)
        {
            List<GenerationEvent> events = await cluster.WatchAsync($"g{i}");
            Assert.Equal(FakeDevice.Undisturbed(specs[i]), cluster.Blobs[events[^1].Picture!.Value]);
        }
    }

    [Fact]
    public async Task KernelThatThrows_FailsOnlyItsOwnPicture()
    {
        var device = new FakeDevice("d", 4);
        device.Evaluating = batch => batch.Any(picture => picture.Spec.Seed == 3 && picture.Step == 2)
            ? throw new Ports.DeviceException(GenerationError.KernelFailed, "The kernel did not like that.")
            : Task.CompletedTask;
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device);
        await Task.WhenAll(
            Enumerable.Range(0, 8).Select(
                i => cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) })));
        for (int i = 0; i < 8; i++)
        {
            GenerationEvent end = (await cluster.WatchAsync($"g{i}"))[^1];
            Assert.Equal(i == 3 ? GenerationPhase.Failed : GenerationPhase.Done, end.Phase);
            Assert.Equal(i == 3 ? GenerationError.KernelFailed : GenerationError.None, end.Error);
        }
    }

    [Fact]
    public async Task AStoreThatAcceptsNothingForAWhile_DelaysWork_AndLosesNone()
    {
        var device = new FakeDevice("d", 2);
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => device, grains =>
        {
            grains.Worker.TriesMax = 2;
            grains.Worker.RetryPause = TimeSpan.FromMilliseconds(20);
        });
        cluster.Blobs.Refusals = 30;
        GenerationSpec[] specs = [TestCluster.Spec(1), TestCluster.Spec(2)];
        await Task.WhenAll(specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec })));
        for (int i = 0; i < specs.Length; i++)
        {
            GenerationEvent end = (await cluster.WatchAsync($"g{i}"))[^1];
            Assert.Equal(FakeDevice.Undisturbed(specs[i]), cluster.Blobs[end.Picture!.Value]);
        }

        Assert.True(cluster.Blobs.Refusals < 0, "The store refused less than it was to.");
    }

    [Fact]
    public async Task Session_RemembersVariesAndForgets()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 4));
        ISessionGrain session = cluster.Grains.Session(new SessionKey(TestCluster.Tenant, new SessionId("s")));
        Assert.Null(await session.ViewAsync());
        for (int i = 0; i < 5; i++)
        {
            var id = new GenerationId($"g{i}");
            Assert.True((await session.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(i) })).IsAccepted);
            Assert.True((await session.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(i) })).IsAccepted);
        }

        SubmitAnswer variation = await session.VaryAsync(new GenerationId("v"), new GenerationId("g4"), null);
        Assert.Equal(5UL, variation.View!.Submission.Spec.Seed);
        Assert.Equal(6, (await session.ViewAsync())!.Generations);
        await cluster.WatchAsync("v");
        HistoryPage page = await session.HistoryAsync(2, 3);
        Assert.Equal(["g2", "g3", "g4"], page.Items.Select(view => view.Key.Id.Value));
        HistoryPage rest = await session.HistoryAsync(page.Next!.Value, 3);
        Assert.Equal(["v"], rest.Items.Select(view => view.Key.Id.Value));
        Assert.Equal((new GenerationId("g4"), null), (rest.Items[0].Submission.VariationOf!.Value, rest.Next));
        while (!await session.DeleteAsync())
        {
        }

        Assert.Null(await session.ViewAsync());
        Assert.Null(await cluster.Generation("v").ViewAsync());
        Assert.Equal(
            SubmitOutcome.Gone,
            (await session.SubmitAsync(new GenerationId("n"), new Submission { Spec = TestCluster.Spec(1) })).Outcome);
    }

    [Fact]
    public async Task PartitionedCluster_WithTwoActivations_IsFenced()
    {
        // The worker is blocked in its fourth step: it does not report, and does not know that it was replaced.
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var device = new FakeDevice("d", 1);
        device.Evaluating = batch => batch[0].Step == 3 ? letGo.Task : Task.CompletedTask;
        await using TestCluster one = await TestCluster.StartAsync(1, name => device);
        await using TestCluster other = await TestCluster.StartAsync(1, name => null, twin: one);
        GenerationSpec spec = TestCluster.Spec(1, 20);
        await one.SubmitAsync("g", new Submission { Spec = spec });
        await foreach (GenerationEvent e in one.Generation("g").WatchAsync(
            EventNumber.Before, TestContext.Current.CancellationToken))
        {
            if (e.Step == 3)
            {
                break;
            }
        }

        // On the other side of the partition another worker claims the same work: the older epoch is rejected on both
        // sides.
        long old = (await one.Generation("g").ViewAsync())!.Epoch;
        ClaimAnswer? claim = null;
        int attempt = 0;
        await TestCluster.UntilAsync(async () =>
        {
            attempt++;
            var request = new ClaimRequest(
                "elsewhere/d", long.MaxValue - 10_000 + attempt, WorkKind.Denoise, "cpu", false, attempt);
            claim = await GrainCalls.TryAsync(() => other.Generation("g").ClaimAsync(request));
            return claim?.Outcome == ClaimOutcome.Granted;
        });
        Assert.True(claim!.Epoch > old);
        BlobName forged = BlobName.Of(BlobKind.Latent, TestCluster.Tenant, new string('0', 64));
        Assert.Equal(ReportOutcome.Refused, await other.Generation("g").CompleteAsync(old, forged));
        Assert.Equal(
            ReportOutcome.Refused,
            await TestCluster.AnsweredAsync(() => one.Generation("g").CompleteAsync(old, forged)));

        // The holder of the new epoch finishes; the picture is the same.
        await other.Generation("g").ReleaseAsync(new StepReport { Epoch = claim.Epoch, Step = claim.Step });
        letGo.SetResult();
        List<GenerationEvent> events = await one.WatchAsync("g");
        Assert.Equal(FakeDevice.Undisturbed(spec), one.Blobs[events[^1].Picture!.Value]);
    }

    [Fact]
    public async Task StoredState_OfTheLongestPrompts_StaysBelow64KiB()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => new FakeDevice("d", 4));
        GenerationSpec spec =
            TestCluster.Spec(1) with { Prompt = new string('"', 14_000), Negative = new string('\u65e5', 9_000) };
        Assert.Null(spec.Fault());
        await cluster.SubmitAsync("g", new Submission { Spec = spec, Previews = 3 });
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("g"))[^1].Phase);
    }

    [Fact]
    public async Task Keys_AreAcceptedByTheirHash_AndRevokedAtOnce()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, name => null);
        ITenantGrain tenant = cluster.Grains.Tenant(TestCluster.Tenant);
        string hash = new('c', 64);
        Assert.False(await tenant.HasKeyAsync(hash));
        Assert.NotNull((await tenant.AddKeyAsync("first", hash)).View);
        Assert.True(await tenant.HasKeyAsync(hash));
        Assert.Null((await tenant.AddKeyAsync("second", "not a hash")).View);
        await tenant.RevokeKeyAsync(hash);
        Assert.False(await tenant.HasKeyAsync(hash));
    }

    private static async Task<int> ActivationsAsync(TestCluster cluster) =>
        (await cluster.Grains.GetGrain<IManagementGrain>(0).GetSimpleGrainStatistics())
            .Where(one => one.GrainType.Contains("GenerationGrain", StringComparison.Ordinal))
            .Sum(one => one.ActivationCount);
}

// Goal: whatever happens around a worker's loop, its pictures are complete and it continues. Method: loops among pure
// protocols, with faults under seeds; and, one by one, the situations that the code distinguishes.
using System.Collections.Concurrent;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Models;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

public sealed class WorkerLoopTests
{
    [Fact]
    public async Task UnderFaults_EveryPictureIsDone_WithAllItsStepsAndPreviews()
    {
        int parks = 0, denied = 0;
        var options = new ParallelOptions { MaxDegreeOfParallelism = 12 };
        await Parallel.ForAsync(0, 120, options, async (seed, cancellation) =>
        {
            var random = new Random(seed);
            var world = new WorkerWorld(seed) { Loss = 0.08, Delay = random.Next(6) };

            // Models that do not fit together, or two of three that do.
            (int models, int memory) = (1 + (seed % 3), seed % 2 == 0 ? 150 : 250);
            for (int i = 0; i < 10; i++)
            {
                world.Add($"t{i % 3}", i, 4 + random.Next(8), previews: i % 4, model: i / 3 % models);
            }

            // Occasionally the queue does not answer for longer than a lease lasts, or the store accepts nothing.
            DateTimeOffset quietUntil = default;
            world.Calling = (method, _) =>
                method == nameof(IWorkQueueGrain.TurnAsync) && TimeProvider.System.GetUtcNow() < quietUntil
                ? throw new TimeoutException("The queue does not answer.")
                : Task.CompletedTask;
            var workers = new List<LivingWorker> { Start(), Start() };
            for (int i = 0; i < 12; i++)
            {
                await Task.Delay(random.Next(30), cancellation);
                switch (random.Next(5))
                {
                    case 0:
                        quietUntil = TimeProvider.System.GetUtcNow() + TimeSpan.FromMilliseconds(150);
                        break;
                    case 1:
                        world.Blobs.Refusals = random.Next(20);
                        break;
                    case 2:
                        await workers[i % 2].Loop.DrainAsync();
                        Assert.Equal(0, workers[i % 2].Loop.Status.Held);
                        workers[i % 2] = Start();
                        break;
                    case 3:
                        workers[i % 2].Die();
                        workers[i % 2] = Start();
                        break;
                    default:
                        break;
                }
            }

            LivingWorker Start() => world.Start(1 + random.Next(3), models: models, memory: memory);
            world.Loss = 0;
            world.Blobs.Refusals = 0;
            await world.EndAsync(60);
            world.AssertAllDone();
            Assert.All(workers, worker => Assert.True(worker.Device.Largest <= worker.Device.Description.Slots));
            await Task.WhenAll(workers.Select(worker => worker.Loop.DrainAsync()));
            world.Check();
            Interlocked.Add(ref parks, world.Parks);
            Interlocked.Add(ref denied, world.DeniedClaims);
        });

        // How often depends on the machine's load; zero would mean that nothing was tested.
        Assert.True(parks > 20 && denied > 20, $"There were {parks} parks and {denied} refused claims.");
    }

    // Long pictures of one model hold every slot; one of another model arrives.
    [Theory]
    [InlineData(1, 100)]
    [InlineData(1, 200)]
    [InlineData(4, 100)]
    [InlineData(4, 200)]
    public async Task ANewcomersModel_IsLoaded_WhileOthersWork(int slots, int memory)
    {
        var world = new WorkerWorld(1);
        GenerationKey[] others = [.. Enumerable.Range(0, slots + 1).Select(i => world.Add("a", i, 1000))];
        LivingWorker worker = world.Start(slots, models: 2, memory: memory, prepare: device =>
        {
            device.Pace = TimeSpan.FromMilliseconds(2);
            device.LoadTime = TimeSpan.FromMilliseconds(20);
        });
        await UntilAsync(world, () => others.Count(key => world.State(key).Step >= 10) == slots);
        GenerationKey newcomer = world.Add("b", 100, 5, model: 1);
        await UntilAsync(world, () => !world.State(newcomer).IsOpen);
        Assert.All(others, key => Assert.True(world.State(key).IsOpen));
        Assert.Equal(GenerationPhase.Done, world.State(newcomer).Phase);

        // Parked work continues. Its model may have been loaded again already, and on a busy machine the models take
        // turns.
        int loadsMax = memory == 100 ? 9 : 2;
        Assert.InRange(worker.Device.Loads, 2, loadsMax);
        int before = others.Sum(key => world.State(key).Step);
        await UntilAsync(world, () => others.Sum(key => world.State(key).Step) > before + 20);
        Assert.InRange(worker.Device.Loads, memory == 100 ? 3 : 2, loadsMax);
        await worker.Loop.DrainAsync();
        world.Check();
        Assert.All(others, key => Assert.Null(world.State(key).Claim));
    }

    // The queue's grain wakes a busy worker when a newcomer arrives.
    [Fact]
    public async Task ANewcomer_IsServedAtTheEndOfTheCurrentStep()
    {
        var world = new WorkerWorld(1);
        GenerationKey old = world.Add("a", 1, 1000);
        var within = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var served = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        LivingWorker worker = world.Start(1, prepare: device =>
            device.Evaluating = batch => batch[0].Spec.Seed != 1 ? Task.CompletedTask
                : batch[0].Step == 7 && within.TrySetResult() ? letGo.Task
                : batch[0].Step > 8 ? served.Task
                : Task.CompletedTask);
        await within.Task.WaitAsync(TestContext.Current.CancellationToken);
        GenerationKey newcomer = world.Add("b", 2, 3);
        await UntilAsync(world, () =>
        {
            worker.Loop.Wake();
            return world.Parks > 1; // A second turn starts when the loop has the first one's answer.
        });
        letGo.SetResult();
        await UntilAsync(world, () => world.State(newcomer).Phase > GenerationPhase.QueuedEncode);
        served.SetResult();
        await worker.Loop.DrainAsync();
        world.Check();
    }

    [Fact]
    public async Task AQuarantinedPicture_IsBatchedAgain_AfterItsNextSnapshot()
    {
        var world = new WorkerWorld(1);
        GenerationKey alone = world.Add("a", 1, 1000);
        LivingWorker dead = world.Start(
            1, "dead", prepare: device => device.Evaluating = _ => Task.Delay(Timeout.Infinite));
        await UntilAsync(world, () => world.State(alone).Phase == GenerationPhase.Denoising);
        dead.Die();
        var company = new ConcurrentDictionary<int, int>();
        LivingWorker worker = world.Start(4, prepare: device =>
        {
            device.Pace = TimeSpan.FromMilliseconds(1);
            device.Evaluating = batch =>
            {
                foreach (FakeDenoising picture in batch.Where(picture => picture.Spec.Seed == 1))
                {
                    company[picture.Step] = Math.Max(company.GetValueOrDefault(picture.Step), batch.Count);
                }

                return Task.CompletedTask;
            };
        });
        await UntilAsync(world, () => company.ContainsKey(0));
        GenerationKey[] others = [.. Enumerable.Range(2, 3).Select(i => world.Add("b", i, 5))];
        await UntilAsync(world, () => others.All(key => !world.State(key).IsOpen));
        Assert.True(world.State(alone).IsOpen);
        Assert.Equal(1, company[0]);
        Assert.Equal(4, company.Values.Max());
        await worker.Loop.DrainAsync();
        world.Check();
    }

    [Fact]
    public async Task UnderLostCalls_EveryBlobThatAWorkerStored_IsNamedToItsGeneration()
    {
        await Parallel.ForAsync(0, 40, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (seed, _) =>
        {
            var world = new WorkerWorld(seed) { Loss = 0.3 };
            for (int i = 0; i < 6; i++)
            {
                world.Add($"t{i % 2}", i, 8, previews: i % 4);
            }

            LivingWorker[] workers =
                [.. Enumerable.Range(0, 2).Select(_ => world.Start(2, null, o => o.SnapshotPeriod = TimeSpan.Zero))];
            await world.EndAsync(60);
            world.Loss = 0;
            await Task.WhenAll(workers.Select(worker => worker.Loop.DrainAsync()));
            world.Check();
            world.AssertAllNamed();
        });
    }

    [Fact]
    public async Task AReportWithoutAnAnswer_DelaysItsOwnPictureOnly()
    {
        var world = new WorkerWorld(1);
        GenerationKey held = world.Add("a", 1, 6), free = world.Add("a", 2, 30);
        TaskCompletionSource answer = world.Hold(
            (method, of) => method == nameof(IGenerationGrain.ReportAsync) && of == held);
        LivingWorker worker = world.Start(2);
        await UntilAsync(world, () => !world.State(free).IsOpen);
        Assert.Equal(GenerationPhase.Denoising, world.State(held).Phase);
        answer.SetResult();
        await world.EndAsync(20);
        world.AssertAllDone();
        await worker.Loop.DrainAsync();
    }

    [Fact]
    public async Task AQueueThatDoesNotAnswer_DelaysNobody()
    {
        var world = new WorkerWorld(1);
        GenerationKey key = world.Add("a", 1, 30);
        TaskCompletionSource answer = world.Hold(
            (method, _) =>
                method == nameof(IWorkQueueGrain.TurnAsync) && world.State(key).Phase == GenerationPhase.Denoising);
        LivingWorker worker = world.Start(1);
        await UntilAsync(world, () => world.State(key).Phase > GenerationPhase.Denoising);
        answer.SetResult();
        await world.EndAsync(20);
        world.AssertAllDone();
        await worker.Loop.DrainAsync();
    }

    [Theory]
    [InlineData("waits")]
    [InlineData("refuses")]
    [InlineData("throws")]
    public async Task ACatalogThatAcceptsNoModel_DelaysNobody(string how)
    {
        var world = new WorkerWorld(1);
        world.Add("a", 1, 6);
        var never = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        int registrations = 0;
        world.Calling = (method, _) => method != nameof(IModelCatalogGrain.RegisterAsync) ? Task.CompletedTask
            : Interlocked.Increment(ref registrations) > 0 && how == "waits" ? never.Task
            : how == "refuses" ? throw new TimeoutException("No.")
            : throw new ArgumentException("Not a card.");
        LivingWorker worker = world.Start(
            1, catalog: new ModelOptions { ConfirmPeriod = TimeSpan.FromMilliseconds(5) });
        await world.EndAsync(20);
        world.AssertAllDone();
        await UntilAsync(world, () => registrations >= (how == "waits" ? 1 : 3));
        await worker.Loop.DrainAsync();
    }

    [Fact]
    public async Task AClaimWhoseAnswersAreLost_DoesNotCountAsADeath()
    {
        var world = new WorkerWorld(1);
        GenerationKey key = world.Add("a", 1, 4);
        int claims = 0;
        world.Answering = method =>
            method == nameof(IGenerationGrain.ClaimAsync) && Interlocked.Increment(ref claims) <= 5
            ? throw new TimeoutException("The answer did not arrive.")
            : Task.CompletedTask;
        LivingWorker worker = world.Start(1);
        await world.EndAsync(20);
        world.AssertAllDone();
        Assert.Equal(3, world.State(key).Epoch);
        await worker.Loop.DrainAsync();
    }

    [Fact]
    public async Task ADrainWithoutAnswersForAWhile_LosesNoStep()
    {
        var world = new WorkerWorld(1);
        GenerationKey key = world.Add("a", 1, 1000);
        LivingWorker worker = world.Start(1, configure: options => options.SnapshotPeriod = TimeSpan.FromHours(1));
        await UntilAsync(world, () => world.State(key).Step >= 5);
        int refused = 0;
        world.Calling = (method, _) =>
            method is nameof(IGenerationGrain.ReportAsync) or nameof(IGenerationGrain.ReleaseAsync)
            && Interlocked.Increment(ref refused) <= 9
                ? throw new TimeoutException("No.")
                : Task.CompletedTask;
        await worker.Loop.DrainAsync();
        Assert.Equal(0, worker.Loop.Status.Held);
        Assert.True(
            world.State(key).SnapshotStep >= 5, $"The state of step {world.State(key).SnapshotStep} was stored.");
        Assert.Null(world.State(key).Claim);
    }

    [Fact]
    public async Task PicturesThatCannotBeStored_DoNotPileUp()
    {
        const int slots = 2;
        var world = new WorkerWorld(1);
        for (int i = 0; i < 30; i++)
        {
            world.Add("a", i, 2);
        }

        // Latents are not accepted: pictures end, and wait to be stored.
        var full = new ConcurrentDictionary<GenerationKey, bool>();
        bool isFull = true;
        int turns = 0;
        world.Calling = (method, of) =>
        {
            turns += method == nameof(IWorkQueueGrain.TurnAsync) ? 1 : 0;
            if (method == nameof(IGenerationGrain.CompleteAsync) && isFull
                && world.State(of!.Value).Phase == GenerationPhase.Denoising)
            {
                full[of.Value] = true;
                throw new TimeoutException("No.");
            }

            return Task.CompletedTask;
        };
        LivingWorker worker = world.Start(slots);
        await UntilAsync(world, () => full.Count >= 2 * slots);
        int before = turns;
        await UntilAsync(world, () => turns >= before + 15);
        Assert.InRange(worker.HeldMost, 2 * slots, (3 * slots) + 2);
        isFull = false;
        await world.EndAsync(20);
        world.AssertAllDone();
        await worker.Loop.DrainAsync();
    }

    [Fact]
    public async Task ADeviceThatRefuses_EndsAfterItsSecondAttempt_WhileOthersContinue()
    {
        var world = new WorkerWorld(1);
        GenerationKey bad = world.Add("a", 1, 6, previews: 1);
        GenerationKey[] good = [.. Enumerable.Range(2, 4).Select(i => world.Add("a", i, 6))];
        TaskCompletionSource claims = world.Hold((method, _) => method == nameof(IGenerationGrain.ClaimAsync));
        LivingWorker worker = world.Start(3);
        worker.Device.Evaluating = batch => batch.Any(picture => picture.Spec.Seed == 1 && picture.Step == 4)
            ? throw new DeviceException(GenerationError.KernelFailed, "The kernel did not like that.")
            : Task.CompletedTask;
        claims.SetResult();
        await world.EndAsync(20);
        Assert.Equal(GenerationError.KernelFailed, world.State(bad).Error);
        Assert.All(good, key => Assert.Equal(GenerationPhase.Done, world.State(key).Phase));
        await worker.Loop.DrainAsync();
    }

    // Both attempts to report the third step fail. A preview counts only together with a snapshot, so the report of the
    // fourth step has one, although it is not time for it.
    [Fact]
    public async Task APreviewWhoseReportFailed_IsReportedWithTheNextStep()
    {
        var world = new WorkerWorld(1);
        int reports = 0;
        world.Calling = (method, _) =>
            method == nameof(IGenerationGrain.ReportAsync) && Interlocked.Increment(ref reports) is 3 or 4
            ? throw new TimeoutException("No.")
            : Task.CompletedTask;
        world.Add("a", 1, 6, previews: 1);
        LivingWorker worker = world.Start(1, configure: options => options.SnapshotPeriod = TimeSpan.FromHours(1));
        await world.EndAsync(20);
        world.AssertAllDone();
        await worker.Loop.DrainAsync();
    }

    private static Task UntilAsync(WorkerWorld world, Func<bool> condition) => Eventually.TrueAsync(() =>
    {
        world.Check();
        return condition();
    });
}

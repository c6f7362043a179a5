// The surroundings of a worker's loop, without a cluster: a queue and generations as pure protocols in memory, a device
// of hashes, a store. Under a seed calls are late, fail before or after their effect, or fail for a while; workers
// drain or die and others take their places. Time is real and short, so a seed determines faults, not one course of
// events.
using System.Collections.Concurrent;
using System.Reflection;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Generations;
using Atelier.Grains.Models;
using Atelier.Grains.Pools;
using Atelier.Grains.Queueing;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Workers;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

/// <summary>Stands for any grain: intercepts calls and their arguments.</summary>
public class GrainProxy : DispatchProxy
{
    public Func<MethodInfo, object?[], object?> Answer { get; set; } = null!;

    public static T Make<T>(Func<MethodInfo, object?[], object?> answer)
        where T : class
    {
        T proxy = Create<T, GrainProxy>();
        ((GrainProxy)(object)proxy).Answer = answer;
        return proxy;
    }

    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) => Answer(targetMethod!, args!);
}

/// <summary>A worker, its device, and a switch that cuts it off like a killed process.</summary>
internal sealed class LivingWorker(WorkerLoop loop, FakeDevice device)
{
    private volatile bool _dead;

    public WorkerLoop Loop => loop;

    public FakeDevice Device => device;

    public bool IsDead => _dead;

    public int HeldMost { get; set; }

    public void Die()
    {
        _dead = true;
        device.Die();
    }
}

internal sealed class WorkerWorld(int seed)
{
    private readonly Lock _lock = new();
    private readonly Random _random = new(seed);
    private readonly WorkQueue _queue = new(new WorkQueueOptions { LeaseTime = TimeSpan.FromMilliseconds(100) }, 0);
    private readonly GenerationMachine _machine = new(
        new GenerationOptions { ClaimQuiet = TimeSpan.FromMilliseconds(60) });
    private readonly Dictionary<GenerationKey, (GenerationState State, DateTimeOffset HeardAt)> _generations = [];
    private readonly ConcurrentQueue<Exception> _faults = new();
    private int _workers;

    public FakeBlobStore Blobs { get; } = new();

    /// <summary>Probability that a call fails; half of the failures come after it took effect.</summary>
    public double Loss { get; set; }

    /// <summary>Longest delay of a call, in milliseconds.</summary>
    public int Delay { get; set; }

    /// <summary>Called before a call takes effect, with the method and its generation. It may throw or wait.</summary>
    public Func<string, GenerationKey?, Task>? Calling { get; set; }

    /// <summary>Called after a call took effect and before its answer, with the method. It may throw or wait.</summary>
    public Func<string, Task>? Answering { get; set; }

    /// <summary>Holds calls up until the returned source is set.</summary>
    public TaskCompletionSource Hold(Func<string, GenerationKey?, bool> which)
    {
        var answer = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Calling = (method, of) => which(method, of) ? answer.Task : Task.CompletedTask;
        return answer;
    }

    /// <summary>Number of claims that were denied.</summary>
    public int DeniedClaims { get; private set; }

    public int Parks { get; private set; }

    public GenerationKey Add(string tenant, int number, int steps, int previews = 0, int model = 0)
    {
        var key = new GenerationKey(new TenantId(tenant), new GenerationId($"g{number}"));
        var submission = new Submission { Spec = TestCluster.Spec(number, steps, model), Previews = previews };
        lock (_lock)
        {
            DateTimeOffset now = TimeProvider.System.GetUtcNow();
            GenerationState state = GenerationMachine.Accept(
                submission, 1, GenerationCost.Of(FakeDevice.Card(0), submission), now);
            _generations[key] = (state, now);
            _queue.Offer(_machine.Item(state, key), admitted: true, now);
        }

        return key;
    }

    public LivingWorker Start(
        int slots, string? name = null, Action<WorkerOptions>? configure = null, int models = 1, int memory = 150,
        ModelOptions? catalog = null, Action<FakeDevice>? prepare = null)
    {
        name ??= $"w{Interlocked.Increment(ref _workers)}";
        var device = new FakeDevice("d", slots, models: models, memory: memory) { Pace = TimeSpan.Zero };
        prepare?.Invoke(device);
        var options = new WorkerOptions
        {
            IdlePeriod = TimeSpan.FromMilliseconds(20), RetryPause = TimeSpan.FromMilliseconds(5), TriesMax = 2,
            SnapshotPeriod = TimeSpan.FromMilliseconds(5), DrainTimeout = TimeSpan.FromSeconds(20),
            OnFault = _faults.Enqueue,
        };
        configure?.Invoke(options);
        LivingWorker worker = null!;
        IGrainFactory grains = GrainProxy.Make<IGrainFactory>(
            (method, args) => Grain(worker, method.GetGenericArguments()[0], args[0]!));
        var loop = new WorkerLoop(
            new WorkerKey(name, "d"), device, Blobs, grains, options, catalog ?? new ModelOptions(),
            new DeviceShare(TimeSpan.Zero, TimeProvider.System), TimeProvider.System, TestInstruments.Workers,
            NullLogger<WorkerLoop>.Instance);
        worker = new LivingWorker(loop, device);
        _ = Task.Run(loop.RunAsync);
        return worker;
    }

    /// <summary>Waits until all generations have ended; meanwhile walks through them, as open sets do.</summary>
    public async Task EndAsync(double seconds)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(TimeSpan.FromSeconds(seconds));
        while (States().Any(state => state.IsOpen))
        {
            Check();
            if (patience.IsCancellationRequested)
            {
                IEnumerable<string> open = States().Where(s => s.IsOpen)
                    .Select(s => $"{s.Phase} step {s.Step} of {s.Submission!.Spec.Steps}, epoch {s.Epoch}");
                Assert.Fail($"Seed {seed}: open are {string.Join("; ", open)}.");
            }

            await Task.Delay(30, CancellationToken.None);
            lock (_lock)
            {
                foreach ((GenerationKey key, (GenerationState state, _)) in _generations.Where(
                    one => one.Value.State.IsOpen))
                {
                    _queue.Offer(_machine.Item(state, key), admitted: true, TimeProvider.System.GetUtcNow());
                }
            }
        }

        Check();
    }

    /// <summary>Asserts that no loop has met an unexpected exception.</summary>
    public void Check()
    {
        if (_faults.TryDequeue(out Exception? fault))
        {
            Assert.Fail($"Seed {seed}: {fault}");
        }
    }

    public GenerationState State(GenerationKey key)
    {
        lock (_lock)
        {
            return _generations[key].State;
        }
    }

    /// <summary>
    /// Asserts that every generation has its picture, and every step was reported, and every preview with its step.
    /// </summary>
    public void AssertAllDone()
    {
        foreach (GenerationState state in States())
        {
            GenerationSpec spec = state.Submission!.Spec;
            Assert.Equal(GenerationPhase.Done, state.Phase);
            Assert.Equal(FakeDevice.Undisturbed(spec), Blobs[state.Picture!.Value]);
            GenerationEvent[] events = [.. GenerationEvents.EventsAfter(state, EventNumber.Before)];
            Assert.Equal(7 + spec.Steps, events.Length);
            int[] due = GenerationEvents.PreviewSteps(state.Submission);
            Assert.Equal(due, events.Where(one => one.Preview is not null).Select(one => one.Step));
        }
    }

    /// <summary>
    /// Asserts that every blob is named in a state, as needed or to be released: this world releases nothing.
    /// </summary>
    public void AssertAllNamed() => Assert.Empty(
        Blobs.Names.Except(States().SelectMany(state => state.Needed().Concat(state.ToRelease).Concat(state.Late))));

    private GenerationState[] States()
    {
        lock (_lock)
        {
            return [.. _generations.Values.Select(one => one.State)];
        }
    }

    private object Grain(LivingWorker worker, Type type, object key)
    {
        if (type == typeof(IModelCatalogGrain))
        {
            return GrainProxy.Make<IModelCatalogGrain>((method, args) => CallAsync(worker, method, null, () => true));
        }

        if (type == typeof(IWorkQueueGrain))
        {
            return GrainProxy.Make<IWorkQueueGrain>((method, args) => method.Name switch
            {
                nameof(IWorkQueueGrain.TurnAsync) =>
                    CallAsync(worker, method, null, () => Turn(worker, (WorkerTurn)args[0]!)),
                nameof(IWorkQueueGrain.ReleaseAsync) => CallAsync(worker, method, null, () =>
                {
                    _queue.Release((LeaseRelease)args[0]!, TimeProvider.System.GetUtcNow());
                    return true;
                }),
                nameof(IWorkQueueGrain.StatusAsync) =>
                    CallAsync(worker, method, null, () => _queue.Status(TimeProvider.System.GetUtcNow())),
                _ => throw new NotSupportedException(method.Name),
            });
        }

        Assert.True(GenerationKey.TryParse((string)key, out GenerationKey generation));
        return GrainProxy.Make<IGenerationGrain>((method, args) => method.Name switch
        {
            nameof(IGenerationGrain.ClaimAsync) =>
                CallAsync(worker, method, generation, () => Claim(generation, (ClaimRequest)args[0]!)),
            nameof(IGenerationGrain.ReportAsync) => CallAsync(worker, method, generation, () =>
                Apply(generation, (state, _) => GenerationMachine.Report(state, (StepReport)args[0]!))),
            nameof(IGenerationGrain.CompleteAsync) => CallAsync(worker, method, generation, () =>
                Apply(
                    generation,
                    (state, now) => GenerationMachine.Complete(state, (long)args[0]!, (BlobName)args[1]!, now))),
            nameof(IGenerationGrain.ReleaseAsync) => CallAsync(worker, method, generation, () =>
                Apply(generation, (state, now) => GenerationMachine.Release(state, (StepReport)args[0]!, now))),
            nameof(IGenerationGrain.FailAsync) => CallAsync(worker, method, generation, () =>
                Apply(
                    generation,
                    (state, now) =>
                        _machine.Fail(state, (long)args[0]!, (GenerationError)args[1]!, (string)args[2]!, now))),
            _ => throw new NotSupportedException(method.Name),
        });
    }

    private TurnAnswer Turn(LivingWorker worker, WorkerTurn turn)
    {
        worker.HeldMost = Math.Max(worker.HeldMost, turn.Held.Length);
        TurnAnswer answer = _queue.Turn(turn, TimeProvider.System.GetUtcNow());
        Parks += answer.Verdicts.Count(verdict => verdict == WorkVerdict.Park);
        return answer;
    }

    private ClaimAnswer Claim(GenerationKey key, ClaimRequest request)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        (GenerationState state, DateTimeOffset heardAt) = _generations[key];
        Outcome<ClaimAnswer> outcome = _machine.Claim(state, key, request, heardAt, now);
        bool granted = outcome.Answer.Outcome == ClaimOutcome.Granted;
        DeniedClaims += outcome.Answer.Outcome == ClaimOutcome.Denied ? 1 : 0;
        _generations[key] = (outcome.State, granted ? now : heardAt);
        return outcome.Answer;
    }

    private ReportOutcome Apply(
        GenerationKey key, Func<GenerationState, DateTimeOffset, Outcome<ReportOutcome>> command)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        (GenerationState before, DateTimeOffset heardAt) = _generations[key];
        Outcome<ReportOutcome> outcome = command(before, now);
        _generations[key] = (outcome.State, outcome.Answer == ReportOutcome.Taken ? now : heardAt);
        if (outcome.State.IsOpen && (int)outcome.State.Phase % 2 == 0 && outcome.State.Phase != before.Phase)
        {
            _queue.Offer(_machine.Item(outcome.State, key), admitted: true, now);
        }

        return outcome.Answer;
    }

    // Methods of grains return a Task or a Task of something; a Task of something is both.
    private async Task<T> CallAsync<T>(LivingWorker worker, MethodInfo method, GenerationKey? of, Func<T> effect)
    {
        await Task.Yield();
        (double fate, int delay) = Draw();
        if (worker.IsDead)
        {
            await Task.Delay(Timeout.Infinite);
        }

        await (Calling?.Invoke(method.Name, of) ?? Task.CompletedTask);
        if (delay > 0)
        {
            await Task.Delay(delay);
        }

        if (fate < Loss / 2)
        {
            throw new TimeoutException("The call did not arrive.");
        }

        T answer;
        lock (_lock)
        {
            answer = effect();
        }

        await (Answering?.Invoke(method.Name) ?? Task.CompletedTask);
        return fate < Loss ? throw new TimeoutException("The answer did not arrive.") : answer;
    }

    private (double Fate, int Delay) Draw()
    {
        lock (_lock)
        {
            return (_random.NextDouble(), _random.Next(Delay + 1));
        }
    }
}

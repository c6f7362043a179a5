// Goal: a trainer whose device or network fails reports it once and waits, and its loop continues. Method: a loop with
// grains that only record calls, and faults in each place.
using Atelier.Contracts.Workers;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Tests.Workers;
using Atelier.Grains.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Grains.Tests.Training;

public sealed class TrainerLoopTests
{
    [Theory]
    [InlineData(Fault.Refused, "its data is missing")]
    [InlineData(Fault.Unexpected, null)]
    [InlineData(Fault.PortInUse, "the port is in use")]
    [InlineData(Fault.Unanswered, null)]
    public async Task StageThatCannotBegin_IsTriedOnce_UntilThePauseIsOver_AndAtOnceIfNobodyAnswered(
        Fault fault, string? reported)
    {
        int opened = 0, asked = 0;
        var askedAgain = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var reasons = new List<string>();
        IDevicePoolGrain pool = GrainProxy.Make<IDevicePoolGrain>((_, arguments) =>
        {
            if (Interlocked.Increment(ref asked) == 10)
            {
                askedAgain.SetResult();
            }

            bool isRefused = ((PoolDevice)arguments[0]!).Refused.Contains("run/0");
            return Task.FromResult(new DeviceUse(isRefused ? null : "run/0", false));
        });
        ITrainingStageGrain stage = GrainProxy.Make<ITrainingStageGrain>((method, arguments) =>
        {
            if (method.Name == nameof(ITrainingStageGrain.PlanJsonAsync))
            {
                return Task.FromResult<string?>(TrainingJson.Write(new StagePlan("run", "toy", "", [])));
            }

            reasons.Add((string)arguments[1]!);
            return Task.CompletedTask;
        });
        IGrainFactory grains = GrainProxy.Make<IGrainFactory>((method, _) =>
            method.GetGenericArguments()[0] == typeof(IDevicePoolGrain) ? pool : stage);
        ITrainingWork device = GrainProxy.Make<ITrainingWork>((_, _) =>
        {
            opened++;
            return fault switch
            {
                Fault.Refused => Task.FromException<IStageWork>(new StageRefusedException("its data is missing")),
                Fault.Unanswered => Task.FromException<IStageWork>(new TimeoutException()),
                Fault.Unexpected => Task.FromException<IStageWork>(new InvalidOperationException("a fault")),
                _ => Task.FromResult<IStageWork>(new NoWork()),
            };
        });
        ITrainerNetwork network = GrainProxy.Make<ITrainerNetwork>((_, _) =>
            Task.FromException<ITrainerPeers>(new IOException("the port is in use")));
        var options = new TrainerOptions
        {
            IdlePeriod = TimeSpan.FromMilliseconds(1), RefusedPause = TimeSpan.FromHours(1),
        };
        var loop = new TrainerLoop(
            new WorkerKey("silo", "cpu"), 1, device, serves: false,
            new DeviceShare(TimeSpan.Zero, TimeProvider.System), network, GrainProxy.Make<IBlobStore>((_, _) => null),
            grains, options, new PoolOptions(), TimeProvider.System, TestInstruments.Training, NullLogger.Instance);
        using var measurements = new Measurements(factories: [null]);
        using var stopping = new CancellationTokenSource();
        Task running = Task.Run(() => loop.RunAsync(stopping.Token), TestContext.Current.CancellationToken);
        Assert.Same(askedAgain.Task, await Task.WhenAny(askedAgain.Task, running));
        await stopping.CancelAsync();
        await running;
        Assert.Equal(fault == Fault.Unanswered, opened > 1);
        Assert.Equal(
            fault == Fault.Unanswered,
            measurements[
                "atelier.call.unanswered{code.function.name=RunAsync,error.type=TimeoutException}"] > 0);
        Assert.Equal(reported is null ? [] : [reported], reasons);
    }

    public enum Fault
    {
        Refused, Unexpected, PortInUse, Unanswered,
    }

    private sealed class NoWork : IStageWork
    {
        public StageFacts Facts { get; } = new(
            new StageRules("toy", 10, 4, 5, new StepPolicy()), 4, 8, ["weights"], "{}")
        {
            Batch = 4, LearningRate = _ => 0,
        };

        public int ParallelShards => 1;

        public Task<IReadOnlyList<ShardSum>> ComputeShardsAsync(long step, IReadOnlyList<int> shards) =>
            throw new NotSupportedException();

        public Task<BatchOutcome> MeasureAsync(ShardSum total) => throw new NotSupportedException();

        public Task UpdateAsync(long step, BatchOutcome batch) => throw new NotSupportedException();

        public Task<IReadOnlyList<StateVector>> ExportAsync() => throw new NotSupportedException();

        public Task ImportAsync(IReadOnlyList<StateVector> vectors, long updates) => throw new NotSupportedException();

        public Task ResetAsync(IReadOnlyList<StateVector>? from) => throw new NotSupportedException();

        public Task<TrainingState?> ReadFolderAsync(bool plannedOnly) => Task.FromResult<TrainingState?>(null);

        public string Place(int sample) => "";

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}

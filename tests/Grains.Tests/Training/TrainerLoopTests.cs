// Goal: a trainer whose device or network fails says so once and waits, and its loop lives on. Method: a loop among
// grains that only note what they are asked, with faults in each place.
using Atelier.Contracts.Training;
using Atelier.Contracts.Workers;
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
    public async Task StageThatCannotBegin_IsTriedOnce_UntilThePauseIsOver(Fault fault, string? told)
    {
        int opened = 0, asked = 0;
        var reasons = new List<string>();
        ITrainingBoardGrain board = GrainProxy.Make<ITrainingBoardGrain>((_, _) =>
        {
            Interlocked.Increment(ref asked);
            return Task.FromResult<OpenRun[]>([new OpenRun(new RunId("run"), 0)]);
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
            method.GetGenericArguments()[0] == typeof(ITrainingBoardGrain) ? board : stage);
        ITrainingWork device = GrainProxy.Make<ITrainingWork>((_, _) =>
        {
            opened++;
            return fault switch
            {
                Fault.Refused => Task.FromException<IStageWork>(new StageRefusedException("its data is missing")),
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
            new WorkerKey("silo", "cpu"), 1, device, network, GrainProxy.Make<IBlobStore>((_, _) => null), grains,
            options, TimeProvider.System, TestInstruments.Training, NullLogger.Instance);
        using var stopping = new CancellationTokenSource();
        Task running = Task.Run(() => loop.RunAsync(stopping.Token), TestContext.Current.CancellationToken);
        while (Volatile.Read(ref asked) < 10)
        {
            Assert.False(running.IsCompleted);
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        await stopping.CancelAsync();
        await running;
        Assert.Equal(1, opened);
        Assert.Equal(told is null ? [] : [told], reasons);
    }

    public enum Fault
    {
        Refused, Unexpected, PortInUse,
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

        public Task UpdateAsync(long step, ShardSum total, BatchOutcome batch) => throw new NotSupportedException();

        public Task<IReadOnlyList<StateVector>> ExportAsync() => throw new NotSupportedException();

        public Task ImportAsync(IReadOnlyList<StateVector> vectors, long updates) => throw new NotSupportedException();

        public Task ResetAsync(IReadOnlyList<StateVector>? from) => throw new NotSupportedException();

        public Task<TrainingState?> ReadFolderAsync(bool plannedOnly) => Task.FromResult<TrainingState?>(null);

        public string Place(int sample) => "";

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}

// A cluster whose silos train stages on fake devices, for tests that attack a stage from without.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Training;
using Atelier.Grains.Blobs;
using Atelier.Grains.Pools;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;
using FakeDevice = Atelier.Grains.Tests.Cluster.FakeDevice;
using TestCluster = Atelier.Grains.Tests.Cluster.TestCluster;

namespace Atelier.Grains.Tests.Training;

/// <summary>Silos in one process, with fake devices and connections in memory.</summary>
public abstract class StageCluster : IAsyncDisposable
{
    private protected const int Steps = 30;
    private protected static readonly RunId s_run = new("run");

    private readonly MemoryNetwork _network = new();
    private readonly Dictionary<string, FakeTraining> _devices = [];
    private readonly Dictionary<string, DeviceShare> _shares = [];
    private readonly List<TestCluster> _clusters = [];

    private protected static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private protected IReadOnlyDictionary<string, FakeTraining> DevicesBySilo => _devices;

    private protected IReadOnlyDictionary<string, DeviceShare> Shares => _shares;

    private protected TestCluster Cluster => _clusters[^1];

    private protected ITrainingRunGrain Run => Cluster.Grains.GetGrain<ITrainingRunGrain>(s_run.Value);

    private protected FakeTraining[] Devices
    {
        get
        {
            lock (_devices)
            {
                return [.. _devices.OrderBy(one => one.Key, StringComparer.Ordinal).Select(one => one.Value)];
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (string line in _clusters.SelectMany(cluster => cluster.Logs))
        {
            TestContext.Current.TestOutputHelper?.WriteLine(line);
        }

        foreach (TestCluster cluster in _clusters)
        {
            await cluster.DisposeAsync();
        }

        GC.SuppressFinalize(this);
    }

    private protected async Task StartAsync(
        short silos, TestCluster? twin = null, Action<string, IServiceCollection>? services = null,
        bool draws = false)
    {
        _clusters.Add(await TestCluster.StartAsync(
            silos, _ => draws ? new FakeDevice("cpu", 2) : null,
            options =>
            {
                options.Trainer.HeartbeatPeriod = TimeSpan.FromMilliseconds(50);
                options.Trainer.IdlePeriod = TimeSpan.FromMilliseconds(50);
                options.Trainer.LostAfter = TimeSpan.FromSeconds(1);
                options.Trainer.StallAfter = TimeSpan.FromSeconds(5);
                options.Trainer.RefusedPause = TimeSpan.FromSeconds(2);
                options.Trainer.LeaveTimeout = TimeSpan.FromSeconds(1);
                options.Trainer.PanelPeriod = TimeSpan.FromMilliseconds(50);
                options.Pool.LendAfter = TimeSpan.FromMilliseconds(100);
                options.Pool.HoldTime = TimeSpan.FromSeconds(1);
            },
            twin,
            (name, own) =>
            {
                services?.Invoke(name, own);
                own.AddSingleton<ITrainerNetwork>(_network);
                own.AddSingleton<ITrainingWork>(silo =>
                {
                    var device = new FakeTraining();
                    lock (_devices)
                    {
                        _shares[name] = silo.GetRequiredService<DeviceShares>().Of(device.Device);
                        return _devices[name] = device;
                    }
                });
            }));
    }

    private protected static StageSource Stage(string name, params string[] overrides) => new()
    {
        Name = name, Configuration = "", Overrides = overrides,
    };

    private protected async Task SubmitAsync(params string[] overrides) =>
        Assert.Equal(RunAnswer.Accepted, await Run.SubmitStagesAsync([Stage("toy", overrides)]));

    private protected Task<RunView> MembersAsync(int members) =>
        ViewAsync(run => run.Stages[0].Trainers.Count(one => one.Shards > 0) == members);

    private protected Task<RunView> StepAsync(long step) => ViewAsync(run => run.Stages[0].Step >= step);

    private protected Task<RunView> EndAsync(ITrainingRunGrain? run = null) =>
        ViewAsync(view => view.Phase != RunPhase.Running, run);

    /// <summary>Reads levels until a condition holds.</summary>
    private protected static Task ObserveAsync(Measurements measurements, Func<bool> condition) =>
        TestCluster.UntilAsync(() =>
        {
            measurements.Observe();
            return Task.FromResult(condition());
        });

    private protected async Task<RunView> ViewAsync(Func<RunView, bool> condition, ITrainingRunGrain? run = null)
    {
        RunView? view = null;
        try
        {
            await TestCluster.UntilAsync(async () =>
            {
                view = await GrainCalls.TryAsync((run ?? Run).ViewAsync) ?? view;
                return view is not null && condition(view);
            });
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"{view}: {string.Join("; ", view?.Stages.Select(stage => stage.ToString()) ?? [])}\n"
                + string.Join('\n', Cluster.Logs.TakeLast(40)));
        }

        return view!;
    }

    private protected StepRecord[] Records(StageView stage) => RecordFiles(stage).Records;

    // All step records of a stage, in order, from the newest file to the oldest and back.
    private protected (StepRecord[] Records, BlobName[] Names) RecordFiles(StageView stage)
    {
        var all = new List<StepRecord>();
        var names = new List<BlobName>();
        for (string? digest = stage.Records; digest is not null;)
        {
            names.Add(BlobName.OfCluster(BlobKind.Checkpoint, digest));
            (IReadOnlyList<StepRecord> records, digest) = StepRecord.Read(Cluster.Blobs[names[^1]]);
            all.InsertRange(0, records);
        }

        return ([.. all], [.. names]);
    }

    // What a trainer that died has stored and not reported.
    private protected async Task<BlobName> LeaveAsync(RunId run, byte content)
    {
        byte[] bytes = [content];
        BlobName name = BlobName.OfCluster(
            BlobKind.Checkpoint, Convert.ToHexStringLower(SHA256.HashData(bytes)));
        using var stream = new MemoryStream(bytes);
        await Cluster.Blobs.PutAsync(
            name, new BlobOwner(BlobOwnerType.Run, run.Value), stream, bytes.Length, Cancellation);
        return name;
    }

    private protected async Task<BlobSweep> SweepAsync()
    {
        var owners = BlobOwners.Of(
            Cluster.Grains, new LogLimits(TimeProvider.System), NullLogger<BlobOwners>.Instance);
        var sweep = new BlobSweep(Cluster.Blobs, owners, DateTimeOffset.MaxValue, isDryRun: false);
        await sweep.RunAsync(Cancellation).ToArrayAsync(Cancellation);
        return sweep;
    }

    // By one device in one process, without grains.
    private protected static async Task<string> RolledBackAsync()
    {
        var device = new FakeTraining { Pace = TimeSpan.Zero };
        await using IStageWork work = await device.OpenAsync(
            new StagePlan("run", "toy", "", []), Cancellation);
        TrainingState ten = FakeTraining.Alone(10);
        await work.ImportAsync(ten.Vectors, 10);
        for (long step = 17; step < 30; step++)
        {
            var tree = new ReductionTree<GradientSlice>(FakeTraining.Shards, GradientSlice.Merge);
            for (int shard = 0; shard < FakeTraining.Shards; shard++)
            {
                ShardSum sum = (await work.ComputeShardsAsync(step, [shard]))[0];
                tree.Add(shard, new GradientSlice(sum.Gradient, sum.Sums));
            }

            var total = new ShardSum(tree.Total!.Values.ToArray(), tree.Total.Sums!);
            await work.UpdateAsync(step, await work.MeasureAsync(total));
        }

        return TrainingState.Digest((await work.ExportAsync())[0]);
    }
}

/// <summary>Submissions of runs in tests.</summary>
internal static class RunCalls
{
    /// <summary>Submits stages with default settings.</summary>
    public static Task<RunAnswer> SubmitStagesAsync(this ITrainingRunGrain run, StageSource[] stages) =>
        run.SubmitAsync(new RunSubmission { Stages = stages });
}

// Goal: pictures keep the devices that they are promised, runs share the rest by priority and weight, and devices
// rarely move. Method: reports by hand on a manual clock, then random pools by seed.
using Atelier.Grains.Pools;
using Xunit;

namespace Atelier.Grains.Tests.Pools;

public sealed class DevicePoolTests
{
    private readonly PoolOptions _options = new();
    private readonly Dictionary<string, DeviceUse> _uses = [];
    private DevicePool? _pool;
    private double _now;

    private DevicePool Pool => _pool ??= new DevicePool(_options);

    [Fact]
    public void DeviceThatDrewRecently_IsNotLent_AndOneThatTrains_StaysLent()
    {
        Pool.SetRuns([new PoolRun("a", 0, 1)]);
        Assert.Null(Report("d", idle: 0.5).Run);
        Assert.Equal("a", Report("d", idle: 1).Run);
        Assert.Equal("a", Report("d", idle: 0).Run); // It returns to pictures by itself, within a shard.
        Assert.Equal("a", Report("trainer", idle: 0, serves: false).Run);
    }

    [Fact]
    public void ReservedDevices_NeverTrain()
    {
        _options.ServingMinimum = 2;
        Pool.SetRuns([new PoolRun("a", 0, 1)]);
        Assert.Null(Report("d1").Run);
        Assert.Null(Report("d2").Run);
        Assert.Equal("a", Report("d3").Run);
        Assert.Equal("a", Report("t", serves: false).Run); // Reserving it would not help pictures.
        Beat("d1", "d2", "d3");
        Assert.Equal([null, null, "a"], Runs("d1", "d2", "d3"));
    }

    [Fact]
    public void ReservedDeviceThatIsGone_IsReplaced()
    {
        _options.ServingMinimum = 1;
        Pool.SetRuns([new PoolRun("a", 0, 1)]);
        Report("d1");
        Assert.Equal("a", Report("d2").Run);
        for (int i = 0; i < 4; i++)
        {
            _now += _options.ReportPeriod.TotalSeconds;
            Report("d2");
            Pool.Tick(Now);
        }

        Assert.Null(Report("d2").Run);
    }

    [Fact]
    public void DevicesThatAreKept_AreAsManyAsStated_AndStayTheSame()
    {
        _options.TrainingMinimum = 1;
        Pool.SetRuns([new PoolRun("a", 0, 1)]);
        Assert.True(Report("d2").IsKept);
        Assert.False(Report("d1").IsKept);
        Beat("d1", "d2");
        Assert.True(_uses["d2"].IsKept);
        Pool.SetRuns([]);
        Beat("d1", "d2");
        Assert.Equal([default, default], new[] { _uses["d1"], _uses["d2"] });
    }

    [Fact]
    public void HigherPriority_TakesDevicesAtOnce_AsManyAsItCanUse()
    {
        Pool.SetRuns([new PoolRun("low", 0, 1)]);
        string[] all = ["d1", "d2", "d3"];
        Beat(all);
        Assert.Equal(["low", "low", "low"], Runs(all));
        Pool.SetRuns([new PoolRun("low", 0, 1), new PoolRun("high", 1, 1)]);
        Beat(all);
        Beat(all);
        Assert.Equal(["high", "high", "high"], Runs(all));
        Report("d1", most: 2);
        Hold(all);
        Assert.Equal(["high", "high", "low"], Runs(all).Order());
        Pool.SetRuns([new PoolRun("low", 0, 1)]);
        Beat(all);
        Assert.Equal(["low", "low", "low"], Runs(all));
    }

    [Fact]
    public void EqualPriority_SharesByWeight_OnceTheHoldTimeIsOver()
    {
        Pool.SetRuns([new PoolRun("a", 0, 1)]);
        string[] all = ["d1", "d2", "d3", "d4"];
        Beat(all);
        Pool.SetRuns([new PoolRun("a", 0, 1), new PoolRun("b", 0, 3)]);
        Beat(all);
        Assert.Equal(4, Runs(all).Count(run => run == "a"));
        Hold(all);
        Assert.Equal((1, 3), (Runs(all).Count(run => run == "a"), Runs(all).Count(run => run == "b")));
    }

    [Fact]
    public void RunThatADeviceRefuses_IsGivenToOthers()
    {
        Pool.SetRuns([new PoolRun("a", 5, 1), new PoolRun("b", 0, 1)]);
        Assert.Equal("b", Report("d1", refused: ["a"]).Run);
        Assert.Equal("a", Report("d2").Run);
        Assert.Equal("a", Report("d1").Run);
    }

    [Fact]
    public void RestartedPool_LeavesDevicesWithTheirRuns()
    {
        Pool.SetRuns([new PoolRun("a", 0, 1), new PoolRun("b", 0, 1)]);
        Assert.Equal("b", Pool.Report(new PoolDevice("d1") { Run = "b", Serves = true }, Now).Run);
    }

    [Fact]
    public void DevicesToWake_AreThoseThatDoNotKnowTheirUse()
    {
        Pool.SetRuns([new PoolRun("a", 0, 1)]);
        Report("d");
        Assert.Equal(["d"], Pool.Tick(Now));
        Report("d");
        Assert.Empty(Pool.Tick(Now));
    }

    [Fact]
    public void RandomPools_KeepTheRules()
    {
        for (int seed = 0; seed < 100; seed++)
        {
            var dice = new Random(seed);
            var options = new PoolOptions
            {
                ServingMinimum = dice.Next(3), TrainingMinimum = dice.Next(3), HoldTime = TimeSpan.FromSeconds(60),
            };
            var pool = new DevicePool(options);
            Dictionary<string, PoolDevice> devices = Enumerable.Range(0, dice.Next(1, 12))
                .Select(i => new PoolDevice($"d{i}") { Serves = dice.Next(4) > 0 }).ToDictionary(one => one.Device);
            PoolRun[] runs = [];
            Dictionary<string, int> most = [];
            int moves = 0;
            for (int second = 0; second < 600; second++)
            {
                var now = TimeSpan.FromSeconds(second);
                if (dice.Next(100) == 0)
                {
                    runs = [.. Enumerable.Range(0, dice.Next(4)).Select(i =>
                        new PoolRun($"r{i}", dice.Next(3), dice.Next(1, 4)))];
                    most = runs.ToDictionary(run => run.Run, _ => 1 << dice.Next(5));
                    pool.SetRuns(runs);
                }

                foreach (string name in devices.Keys.ToArray())
                {
                    PoolDevice device = devices[name] with
                    {
                        Idle = dice.Next(5) == 0 ? TimeSpan.Zero : devices[name].Idle + TimeSpan.FromSeconds(1),
                        RunDevicesMax = devices[name].Run is { } run && most.TryGetValue(run, out int max) ? max : null,
                    };
                    DeviceUse use = pool.Report(device, now);
                    moves += use.Run != device.Run && device.Run is not null && runs.Any(one => one.Run == device.Run)
                        ? 1 : 0;
                    devices[name] = device with { Run = use.Run };
                    Assert.True(use.Run is null || runs.Any(one => one.Run == use.Run), $"seed={seed}");
                }

                pool.Tick(now);
                int serving = devices.Values.Count(one => one.Serves);
                Assert.True(
                    devices.Values.Count(one => one.Serves && one.Run is null)
                        >= Math.Min(options.ServingMinimum, serving),
                    $"seed={seed}: pictures have their devices");
            }

            // Undisturbed, the shares are those of the rules.
            for (int second = 600; second < 800; second++)
            {
                foreach (string name in devices.Keys.ToArray())
                {
                    PoolDevice device = devices[name] with
                    {
                        Idle = TimeSpan.FromHours(1),
                        RunDevicesMax = devices[name].Run is { } run ? most[run] : null,
                    };
                    devices[name] = device with { Run = pool.Report(device, TimeSpan.FromSeconds(second)).Run };
                }

                pool.Tick(TimeSpan.FromSeconds(second));
            }

            int lent = devices.Count - Math.Min(options.ServingMinimum, devices.Values.Count(one => one.Serves));
            int left = lent;
            foreach (IGrouping<int, PoolRun> level in runs.GroupBy(run => run.Priority)
                .OrderByDescending(one => one.Key))
            {
                int given = level.Sum(run => devices.Values.Count(one => one.Run == run.Run));
                Assert.True(
                    given == Math.Min(left, level.Sum(run => most[run.Run])), $"seed={seed}: priority {level.Key}");
                left -= given;
            }

            Assert.True(moves < 60, $"seed={seed}: {moves} moves in ten minutes");
        }
    }

    private TimeSpan Now => TimeSpan.FromSeconds(_now);

    private DeviceUse Report(
        string device, double idle = 10, bool serves = true, int? most = null, string[]? refused = null)
    {
        string? run = _uses.GetValueOrDefault(device).Run;
        return _uses[device] = Pool.Report(
            new PoolDevice(device)
            {
                Serves = serves, Idle = TimeSpan.FromSeconds(idle), Run = run, RunDevicesMax = most,
                Refused = refused ?? [],
            },
            Now);
    }

    private void Beat(params string[] devices)
    {
        Pool.Tick(Now);
        foreach (string device in devices)
        {
            Report(device);
        }
    }

    private void Hold(string[] devices)
    {
        for (int second = 0; second <= _options.HoldTime.TotalSeconds; second++)
        {
            _now++;
            Beat(devices);
        }
    }

    private string?[] Runs(params string[] devices) => [.. devices.Select(device => _uses[device].Run)];
}

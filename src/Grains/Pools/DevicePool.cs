// The pool of devices as a pure protocol without I/O: which devices train, and which run each of them trains. Pictures
// come first: a device that trains still draws every picture that its worker takes, because it returns to pictures
// within a shard (DeviceShare). The pool decides about the rest:
//
//   1. So many devices never train (PoolOptions.ServingMinimum).
//   2. A device that has drawn no picture for a while is lent to training.
//   3. Runs of higher priority get as many devices as they can use; what remains goes to the runs of the next
//      priority. Runs of equal priority share devices by their weights.
//   4. So many of the lent devices take no pictures (PoolOptions.TrainingMinimum).
//
// A device keeps its run as long as the rules permit: a move costs a copy of the weights, and a step in both runs.
namespace Atelier.Grains.Pools;

/// <summary>A run that devices can train.</summary>
/// <param name="Run">The run and its current stage.</param>
/// <param name="Priority">Runs of higher priority get devices first.</param>
/// <param name="Weight">Share of the run among runs of equal priority; positive.</param>
internal sealed record PoolRun(string Run, int Priority, double Weight);

/// <summary>A device as it reports to the pool.</summary>
/// <param name="Device">The device: the key of its worker.</param>
[GenerateSerializer, Immutable, Alias("atelier.PoolDevice")]
internal sealed record PoolDevice([property: Id(0)] string Device)
{
    /// <summary>Whether the device draws pictures, too.</summary>
    [Id(1)]
    public bool Serves { get; init; }

    /// <summary>How long the device has drawn no picture; zero while it draws one.</summary>
    [Id(2)]
    public TimeSpan Idle { get; init; }

    /// <summary>The run that the device trains; null if it trains none.</summary>
    [Id(3)]
    public string? Run { get; init; }

    /// <summary>
    /// Maximum number of devices that its run can use: the shards of a batch; null if the device trains no run.
    /// </summary>
    [Id(4)]
    public int? RunDevicesMax { get; init; }

    /// <summary>Runs that the device cannot train for now.</summary>
    [Id(5)]
    public string[] Refused { get; init; } = [];
}

/// <summary>What a device is used for besides the pictures that its worker takes.</summary>
/// <param name="Run">The run to train; null if the device must not train.</param>
/// <param name="IsKept">Whether the device trains without interruption: its worker takes no pictures.</param>
[GenerateSerializer, Immutable, Alias("atelier.DeviceUse")]
internal readonly record struct DeviceUse([property: Id(0)] string? Run, [property: Id(1)] bool IsKept);

/// <summary>Lends devices to runs.</summary>
/// <param name="options">Minimums and times.</param>
internal sealed class DevicePool(PoolOptions options)
{
    // Devices are forgotten after this number of report periods without a report.
    private const int PeriodsMax = 3;

    private readonly SortedDictionary<string, Entry> _devices = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _devicesMax = new(StringComparer.Ordinal);
    private PoolRun[] _runs = [];
    private bool _isStale;

    /// <summary>
    /// Number of devices that the open runs can use. A run that no device has trained yet counts for one device, which
    /// then reports how many the run can use.
    /// </summary>
    public int DevicesWanted => (int)Math.Min(
        int.MaxValue, _runs.Sum(run => (long)_devicesMax.GetValueOrDefault(run.Run, 1)));

    /// <summary>Sets the open runs, in order of submission. Paused runs are left out.</summary>
    public void SetRuns(IEnumerable<PoolRun> runs)
    {
        PoolRun[] before = _runs;
        _runs = [.. runs];
        _isStale |= !before.SequenceEqual(_runs);
        foreach (string gone in _devicesMax.Keys.Except(_runs.Select(run => run.Run)).ToArray())
        {
            _devicesMax.Remove(gone);
        }
    }

    /// <summary>Records a device's report and returns the device's use.</summary>
    /// <param name="report">The report.</param>
    /// <param name="now">The time, on the pool's clock.</param>
    public DeviceUse Report(PoolDevice report, TimeSpan now)
    {
        if (!_devices.TryGetValue(report.Device, out Entry? entry))
        {
            // After a restart of the pool a device keeps the run that it trains.
            _devices.Add(report.Device, entry = new Entry { Use = new DeviceUse(report.Run, false), Since = now });
        }

        PoolDevice last = entry.Report;
        bool isSame = (last.Device, last.Run, last.Serves) == (report.Device, report.Run, report.Serves)
            && last.Refused.SequenceEqual(report.Refused);
        (entry.Report, entry.At) = (report, now);
        if (report is { Run: { } run, RunDevicesMax: { } most })
        {
            _devicesMax[run] = most;
        }

        if (!isSame || _isStale || entry.Use.Run is null)
        {
            Deal(now);
        }

        return entry.Use;
    }

    /// <summary>Applies the rules again; returns the devices whose use has changed since they last reported.</summary>
    /// <param name="now">The time, on the pool's clock.</param>
    public IReadOnlyList<string> Tick(TimeSpan now)
    {
        foreach (string silent in _devices.Where(one => now - one.Value.At > PeriodsMax * options.ReportPeriod)
            .Select(one => one.Key).ToArray())
        {
            _devices.Remove(silent);
        }

        Deal(now);
        return [.. _devices.Where(one => one.Value.Use.Run != one.Value.Report.Run).Select(one => one.Key)];
    }

    private void Deal(TimeSpan now)
    {
        _isStale = false;
        Entry[] reserved =
        [
            .. _devices.Values.Where(one => one.Report.Serves)
                .OrderByDescending(one => one.IsReserved).ThenBy(one => one.Use.Run is not null)
                .Take(options.ServingMinimum),
        ];
        foreach (Entry one in _devices.Values)
        {
            one.IsReserved = reserved.Contains(one);
        }

        Entry[] lent = [.. _devices.Values.Where(one => !one.IsReserved && IsLent(one))];
        Dictionary<string, int> wanted = Wanted(lent), counts = _runs.ToDictionary(run => run.Run, _ => 0);
        Dictionary<Entry, string> given = Keep(lent, wanted, counts, now);
        foreach (Entry one in lent.Where(one => !given.ContainsKey(one)))
        {
            // The run that lacks the most devices, in proportion.
            PoolRun? next = _runs
                .Where(run => counts[run.Run] < wanted[run.Run] && !one.Report.Refused.Contains(run.Run))
                .OrderByDescending(run => run.Priority).ThenBy(run => counts[run.Run] / run.Weight).FirstOrDefault();
            if (next is not null)
            {
                given.Add(one, next.Run);
                counts[next.Run]++;
            }
        }

        Entry[] kept =
        [
            .. given.Keys.OrderByDescending(one => one.Use.IsKept)
                .ThenBy(one => one.Report.Device, StringComparer.Ordinal).Take(options.TrainingMinimum),
        ];
        foreach (Entry one in _devices.Values)
        {
            string? run = given.GetValueOrDefault(one);
            one.Since = run == one.Use.Run ? one.Since : now;
            one.Use = new DeviceUse(run, kept.Contains(one));
        }
    }

    private bool IsLent(Entry one) =>
        !one.Report.Serves || one.Use.Run is not null || one.Report.Idle >= options.LendAfter;

    // The number of devices that each run should have.
    private Dictionary<string, int> Wanted(Entry[] lent)
    {
        Dictionary<string, int> wanted = _runs.ToDictionary(run => run.Run, _ => 0, StringComparer.Ordinal);
        Dictionary<string, int> most = _runs.ToDictionary(run => run.Run, run => Most(run, lent));
        int left = lent.Length;
        foreach (IGrouping<int, PoolRun> level in _runs.GroupBy(run => run.Priority).OrderByDescending(one => one.Key))
        {
            bool isGiven = true;
            while (left > 0 && isGiven)
            {
                PoolRun? next = level.Where(run => wanted[run.Run] < most[run.Run])
                    .MinBy(run => (wanted[run.Run] + 1) / run.Weight);
                isGiven = next is not null;
                if (next is not null)
                {
                    wanted[next.Run]++;
                    left--;
                }
            }
        }

        return wanted;
    }

    private int Most(PoolRun run, Entry[] lent) => Math.Min(
        _devicesMax.GetValueOrDefault(run.Run, int.MaxValue),
        lent.Count(one => !one.Report.Refused.Contains(run.Run)));

    // Devices that stay with their runs: as many as each run should have, and those that were moved only recently.
    private Dictionary<Entry, string> Keep(
        Entry[] lent, Dictionary<string, int> wanted, Dictionary<string, int> counts, TimeSpan now)
    {
        var kept = new Dictionary<Entry, string>();
        int? missing = _runs.Where(run => _devices.Values.Count(one => one.Use.Run == run.Run) < wanted[run.Run])
            .Max(run => (int?)run.Priority);
        Dictionary<string, int> priorities = _runs.ToDictionary(run => run.Run, run => run.Priority);
        foreach (Entry one in lent.OrderBy(one => one.Since))
        {
            // A run of higher priority does not wait for devices of a lower one.
            if (one.Use.Run is { } run && wanted.TryGetValue(run, out int most) && !one.Report.Refused.Contains(run)
                && (counts[run] < most || (now - one.Since < options.HoldTime && !(missing > priorities[run]))))
            {
                kept.Add(one, run);
                counts[run]++;
            }
        }

        return kept;
    }

    private sealed class Entry
    {
        public PoolDevice Report { get; set; } = new("");

        public TimeSpan At { get; set; }

        public TimeSpan Since { get; set; }

        public DeviceUse Use { get; set; }

        public bool IsReserved { get; set; }
    }
}

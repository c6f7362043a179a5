// How many devices a pool should have, as a pure rule without I/O. It predicts the longest wait of the requests that
// arrive while a newly ordered device would start, from the work that waits and arrives, and wants the fewest devices
// with which that wait is within the target:
//
//   1. If the devices that are there and starting do not suffice, more are wanted at once.
//   2. Devices are released only after fewer have sufficed for a while, with a stricter limit: a device that is ordered
//      again costs a start, and work waits for it.
//   3. A device that holds a lease is never released. An idle pool with a minimum of 0 scales to zero.
//
// The wait is predicted by a fluid: work flows in at the recent rate, and flows out at the devices' measured speed.
namespace Atelier.Grains.Scaling;

/// <summary>Limits and times of a pool.</summary>
public sealed record PoolScaleOptions
{
    /// <summary>Minimum number of devices; with 0, an idle pool scales to zero.</summary>
    public required int Minimum { get; init; }

    /// <summary>Maximum number of devices.</summary>
    public required int Maximum { get; init; }

    /// <summary>Wait within which requests should begin.</summary>
    public required TimeSpan TargetWait { get; init; }

    /// <summary>Time from the order of a device until it takes work.</summary>
    public required TimeSpan ColdStart { get; init; }

    /// <summary>How long fewer devices must have sufficed before the others are released.</summary>
    public TimeSpan Hold { get; init; } = TimeSpan.FromMinutes(1);
}

/// <summary>The state of a pool. Work is in any unit, the same for all members.</summary>
public readonly record struct PoolLoad
{
    /// <summary>Predicted work that waits, and what is left of the work that devices hold.</summary>
    public required double Backlog { get; init; }

    /// <summary>Work of all requests so far.</summary>
    public required double Arrived { get; init; }

    /// <summary>
    /// Measured work that a device does per second; positive, or null as long as no device has been measured. Then one
    /// device is wanted for any work that there is.
    /// </summary>
    public required double? Speed { get; init; }

    /// <summary>Devices that take work.</summary>
    public required int Ready { get; init; }

    /// <summary>Devices that hold leases.</summary>
    public required int Leased { get; init; }

    /// <summary>Devices that training would use besides those that requests need.</summary>
    public int TrainingWish { get; init; }
}

/// <summary>Decides how many devices a pool should have.</summary>
public sealed class PoolScale
{
    // Shares of the target within which the predicted wait must be, to stay and to release devices: predictions err,
    // and the load changes while a device starts.
    private const double UpShare = 0.8;
    private const double DownShare = 0.5;

    // Seconds over which the rate of arrival is averaged: the last minute shows a burst, the last five the tide.
    private const double Fast = 60;
    private const double Slow = 300;

    // A device that is busy for less than this share of its time is started for each request instead.
    private const double IdleShare = 0.05;

    // Steps in which the fluid flows, per time that a device starts in.
    private const int Steps = 24;

    private readonly PoolScaleOptions _options;
    private readonly double _coldStart;

    // When the devices that are starting were ordered, in seconds, oldest first.
    private readonly List<double> _orders = [];
    private readonly Queue<(double At, int Devices)> _sufficed = [];
    private double? _at;
    private double _arrived, _fast, _slow;
    private int _ready;

    /// <summary>Creates the rule for a pool.</summary>
    public PoolScale(PoolScaleOptions options) =>
        (_options, _coldStart) = (options, Math.Max(1, options.ColdStart.TotalSeconds));

    /// <summary>The wanted number of devices.</summary>
    /// <param name="load">The state of the pool.</param>
    /// <param name="now">The time, on the caller's clock; it does not run backward.</param>
    public int Wanted(PoolLoad load, TimeSpan now)
    {
        double at = now.TotalSeconds;
        Observe(load, at);
        int current = load.Ready + _orders.Count;
        int least = Math.Clamp(Math.Max(load.Leased, _options.Minimum), 0, _options.Maximum);
        int up = Fewest(load, at, _fast, UpShare), down = Fewest(load, at, Math.Max(_fast, _slow), DownShare);
        _sufficed.Enqueue((at, Math.Max(up, down)));
        while (_sufficed.Peek().At < at - _options.Hold.TotalSeconds)
        {
            _sufficed.Dequeue();
        }

        int serving = up > current ? up : Math.Min(current, _sufficed.Max(one => one.Devices));
        int wanted = Math.Clamp(Math.Max(serving, least) + load.TrainingWish, least, _options.Maximum);
        Order(wanted - current, at);
        return wanted;
    }

    /// <summary>Expected time until the next device that was ordered takes work.</summary>
    /// <param name="now">The time, on the caller's clock.</param>
    public TimeSpan NextStart(TimeSpan now) => _orders.Count == 0
        ? _options.ColdStart
        : TimeSpan.FromSeconds(Math.Max(0, _orders[0] + _coldStart - now.TotalSeconds));

    private void Observe(PoolLoad load, double at)
    {
        if (_at is { } before && at > before)
        {
            // The count begins again when the queue restarts.
            double rate = Math.Max(0, load.Arrived - _arrived) / (at - before);
            _fast += (rate - _fast) * (1 - Math.Exp((before - at) / Fast));
            _slow += (rate - _slow) * (1 - Math.Exp((before - at) / Slow));
        }

        (_at, _arrived) = (at, load.Arrived);
        for (int i = _ready; i < load.Ready && _orders.Count > 0; i++)
        {
            _orders.RemoveAt(0);
        }

        _ready = load.Ready;
    }

    // The latest orders are the first to be withdrawn.
    private void Order(int devices, double at)
    {
        for (int i = 0; i < devices; i++)
        {
            _orders.Add(at);
        }

        int withdrawn = Math.Min(_orders.Count, Math.Max(0, -devices));
        _orders.RemoveRange(_orders.Count - withdrawn, withdrawn);
    }

    // The predicted wait never grows with the number of devices.
    private int Fewest(PoolLoad load, double at, double rate, double share)
    {
        if (load.Speed is not { } speed)
        {
            return load.Backlog > 0 ? Math.Min(1, _options.Maximum) : 0;
        }

        // No number of devices serves a request sooner than a device starts, if none is there.
        double target = _options.TargetWait.TotalSeconds;
        double late = _coldStart + (share / 2 * Math.Max(target - _coldStart, _coldStart / 4));
        double limit = Math.Max(share * target, late);
        int none = -1, enough = _options.Maximum;
        while (enough - none > 1)
        {
            int middle = none + ((enough - none) / 2);
            (none, enough) = IsWithin(load, speed, at, rate, middle, limit) ? (none, middle) : (middle, enough);
        }

        return enough;
    }

    // Whether the wait of all requests that arrive until a device that is ordered now is ready is within the limit.
    private bool IsWithin(PoolLoad load, double speed, double at, double rate, int devices, double limit)
    {
        if (devices == 0)
        {
            return load.Backlog <= 0 && rate < IdleShare * speed;
        }

        double step = _coldStart / Steps, backlog = load.Backlog;
        double Capacity(double time) => speed * ReadyAt(load, at, devices, time);

        // For each time, the later time at which the work that is there then has been done.
        double done = 0, left = backlog;
        for (int i = 0; i <= Steps; i++)
        {
            double time = i * step;
            if (done < time)
            {
                (done, left) = (time, backlog);
            }

            while (left > 1e-9 * speed)
            {
                if (done - time > limit)
                {
                    return false;
                }

                double capacity = Capacity(done);
                if (capacity * step >= left)
                {
                    done += left / capacity;
                    left = 0;
                }
                else
                {
                    left -= capacity * step;
                    done += step;
                }
            }

            if (done - time > limit)
            {
                return false;
            }

            double flow = rate * step;
            left += flow;
            backlog = Math.Max(0, backlog + flow - (Capacity(time) * step));
        }

        return true;
    }

    private int ReadyAt(PoolLoad load, double at, int devices, double time)
    {
        int ready = Math.Min(devices, load.Ready), starting = Math.Min(_orders.Count, devices - ready);
        int started = 0;
        for (int i = 0; i < starting; i++)
        {
            // A device that is late may come at any time.
            double left = Math.Max(_orders[i] + _coldStart - at, _coldStart / Steps);
            started += time >= left ? 1 : 0;
        }

        return ready + started + (time >= _coldStart ? devices - ready - starting : 0);
    }
}

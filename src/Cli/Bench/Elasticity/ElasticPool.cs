// A pool of devices in simulated time: requests wait in order of arrival, each device works on one at a time, and a
// scaler orders and releases devices. A released device finishes its request first.
namespace Atelier.Cli.Bench.Elasticity;

/// <summary>What a day has shown.</summary>
/// <param name="MinutesWithin">
/// Share of the minutes with requests in which 95 of 100 requests waited no longer than the target.
/// </param>
/// <param name="DeviceHours">Hours of devices, from the order of each until its end.</param>
/// <param name="WaitSeconds">Wait in seconds that 95 of 100 of the day's requests did not exceed.</param>
internal readonly record struct ElasticFigures(double MinutesWithin, double DeviceHours, double WaitSeconds);

/// <summary>Simulates a day.</summary>
internal sealed class ElasticPool
{
    /// <summary>Seconds between two questions to the scaler, as Kubernetes' controller asks.</summary>
    public const double Period = 15;

    private const double Percentile = 0.95;

    private readonly ElasticDay _day;
    private readonly IPoolScaler _scaler;
    private readonly PriorityQueue<Action, (double At, long Order)> _events = new();
    private readonly Queue<int> _waiting = [];
    private readonly List<Device> _devices = [];
    private readonly Stack<Device> _idle = [];
    private readonly double[] _waits;
    private double _now, _deviceSeconds, _waitingWork, _arrived;
    private long _order;

    private ElasticPool(ElasticDay day, IPoolScaler scaler) =>
        (_day, _scaler, _waits) = (day, scaler, new double[day.Requests.Count]);

    /// <summary>Simulates a day, until its last request is done; for two days at most.</summary>
    public static ElasticFigures Run(ElasticDay day, IPoolScaler scaler) => new ElasticPool(day, scaler).Run();

    private ElasticFigures Run()
    {
        // The first devices were ordered before the day began.
        int first = Math.Max(_day.Minimum, _scaler.Wanted(Sample()));
        for (int i = 0; i < first; i++)
        {
            var device = new Device { IsReady = true };
            _devices.Add(device);
            _idle.Push(device);
        }

        Arrive(0);
        Ask();
        while (_events.TryDequeue(out Action? action, out (double At, long Order) key))
        {
            _now = key.At;
            action();
        }

        foreach (Device device in _devices)
        {
            _deviceSeconds += _now - device.OrderedAt;
        }

        return Figures();
    }

    private void After(double seconds, Action action) => _events.Enqueue(action, (_now + seconds, _order++));

    private void Arrive(int index)
    {
        if (index == _waits.Length)
        {
            return;
        }

        After(_day.Requests[index].At - _now, () =>
        {
            _arrived += _day.Requests[index].Work;
            _waitingWork += _day.Requests[index].Work;
            _waiting.Enqueue(index);
            Serve();
            if (_devices.Count == 0)
            {
                Scale();
            }

            Arrive(index + 1);
        });
    }

    private void Ask()
    {
        Scale();
        if (_now < ElasticDay.Length || (_waiting.Count > 0 && _now < 2 * ElasticDay.Length))
        {
            After(Period, Ask);
        }
    }

    private void Scale()
    {
        int wanted = Math.Max(_day.Minimum, _scaler.Wanted(Sample()));
        while (_devices.Count < wanted)
        {
            Order();
        }

        // Kubernetes releases those first that are not ready; among the others, an idle one costs nobody anything.
        foreach (Device device in _devices.OrderBy(one => one.IsReady).ThenBy(one => one.IsBusy)
            .Take(_devices.Count - wanted).ToArray())
        {
            _devices.Remove(device);
            device.IsReleased = true;
            if (!device.IsBusy)
            {
                End(device);
            }
        }
    }

    private void Order()
    {
        var device = new Device { OrderedAt = _now };
        _devices.Add(device);
        After(_day.ColdStart, () =>
        {
            if (!device.IsReleased)
            {
                device.IsReady = true;
                _idle.Push(device);
                Serve();
            }
        });
    }

    private void Serve()
    {
        while (_waiting.Count > 0 && _idle.TryPop(out Device? device))
        {
            if (device.IsReleased)
            {
                continue;
            }

            int index = _waiting.Dequeue();
            ElasticRequest request = _day.Requests[index];
            _waits[index] = _now - request.At;
            _waitingWork -= request.Work;
            (device.IsBusy, device.BusyUntil) = (true, _now + (request.Work / _day.Speed));
            After(request.Work / _day.Speed, () =>
            {
                device.IsBusy = false;
                if (device.IsReleased)
                {
                    End(device);
                }
                else
                {
                    _idle.Push(device);
                    Serve();
                }
            });
        }
    }

    private void End(Device device) => _deviceSeconds += _now - device.OrderedAt;

    private ElasticSample Sample()
    {
        Device[] busy = [.. _devices.Where(one => one.IsBusy)];
        return new ElasticSample
        {
            Now = _now, Waiting = _waiting.Count, Running = busy.Length, Arrived = _arrived,
            Backlog = _waitingWork + busy.Sum(one => (one.BusyUntil - _now) * _day.Speed),
            Ready = _devices.Count(one => one.IsReady), Starting = _devices.Count(one => !one.IsReady),
        };
    }

    private ElasticFigures Figures()
    {
        int minutes = 0, within = 0;
        foreach (var minute in _day.Requests.Select((request, i) => (Minute: (int)(request.At / 60), Wait: _waits[i]))
            .GroupBy(one => one.Minute, one => one.Wait))
        {
            minutes++;
            within += At(minute) <= _day.Target ? 1 : 0;
        }

        return new ElasticFigures(
            minutes == 0 ? 1 : (double)within / minutes, _deviceSeconds / 3600, _waits.Length == 0 ? 0 : At(_waits));
    }

    private static double At(IEnumerable<double> waits)
    {
        double[] sorted = [.. waits.Order()];
        return sorted[Math.Min(sorted.Length - 1, (int)(Percentile * sorted.Length))];
    }

    private sealed class Device
    {
        public double OrderedAt { get; init; }

        public bool IsReady { get; set; }

        public bool IsBusy { get; set; }

        public bool IsReleased { get; set; }

        public double BusyUntil { get; set; }
    }
}

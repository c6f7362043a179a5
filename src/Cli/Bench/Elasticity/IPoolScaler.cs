// How a simulated pool is scaled, and what the scaler sees of it.
namespace Atelier.Cli.Bench.Elasticity;

/// <summary>What a scaler sees of a pool.</summary>
internal readonly record struct ElasticSample
{
    /// <summary>Seconds since the day began.</summary>
    public required double Now { get; init; }

    /// <summary>Requests that wait.</summary>
    public required int Waiting { get; init; }

    /// <summary>Requests that devices work on.</summary>
    public required int Running { get; init; }

    /// <summary>Work of the waiting requests, and what is left of the running ones.</summary>
    public required double Backlog { get; init; }

    /// <summary>Work of all requests that have arrived so far.</summary>
    public required double Arrived { get; init; }

    /// <summary>Devices that take work.</summary>
    public required int Ready { get; init; }

    /// <summary>Devices that are starting.</summary>
    public required int Starting { get; init; }

    /// <summary>Devices that were ordered and not released.</summary>
    public int Devices => Ready + Starting;
}

/// <summary>Decides how many devices a pool should have.</summary>
internal interface IPoolScaler
{
    /// <summary>The wanted number of devices. It is asked every 15 s, and when a request finds no device.</summary>
    int Wanted(in ElasticSample sample);
}

/// <summary>A pool of a fixed size.</summary>
internal sealed class FixedScaler(int devices) : IPoolScaler
{
    public int Wanted(in ElasticSample sample) => devices;
}

/// <summary>
/// Kubernetes' horizontal autoscaler on the number of requests in flight, with its default behavior: a tolerance of
/// 10 %, at most twice as many replicas or four more at a time, and no fewer than it wanted within the last 5 minutes.
/// If the minimum is 0, KEDA starts the first replica, and stops the last one after 5 minutes without requests.
/// </summary>
/// <param name="perDevice">Requests in flight per device.</param>
/// <param name="minimum">Minimum number of devices.</param>
internal sealed class InFlightScaler(double perDevice, int minimum) : IPoolScaler
{
    private const double Tolerance = 0.1;
    private const double Stabilization = 300;

    private readonly Queue<(double At, int Devices)> _wanted = [];
    private double _usedAt = double.NegativeInfinity;

    public int Wanted(in ElasticSample sample)
    {
        int inFlight = sample.Waiting + sample.Running;
        double now = sample.Now;
        _usedAt = inFlight > 0 ? now : _usedAt;
        if (sample.Devices == 0)
        {
            return inFlight > 0 ? Math.Max(1, minimum) : minimum;
        }

        if (minimum == 0 && now - _usedAt >= Stabilization)
        {
            _wanted.Clear();
            return 0;
        }

        double ratio = inFlight / perDevice / sample.Devices;
        int wanted = Math.Abs(ratio - 1) <= Tolerance ? sample.Devices : (int)Math.Ceiling(inFlight / perDevice);
        wanted = Math.Clamp(wanted, Math.Max(1, minimum), Math.Max(2 * sample.Devices, sample.Devices + 4));
        _wanted.Enqueue((now, wanted));
        while (_wanted.Peek().At < now - Stabilization)
        {
            _wanted.Dequeue();
        }

        return wanted >= sample.Devices ? wanted : Math.Min(sample.Devices, _wanted.Max(one => one.Devices));
    }
}

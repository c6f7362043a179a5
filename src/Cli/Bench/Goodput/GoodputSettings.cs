// The settings of a simulated stage on preemptible devices.
namespace Atelier.Cli.Bench.Goodput;

/// <summary>A stage, its devices and how they are taken. All devices are equally fast.</summary>
internal sealed record GoodputSettings
{
    /// <summary>Number of devices that are ordered; those beyond the number of shards are spare.</summary>
    public required int Devices { get; init; }

    /// <summary>Number of shards of a batch, V.</summary>
    public required int Shards { get; init; }

    /// <summary>Preemptions per device and hour.</summary>
    public double Rate { get; init; }

    /// <summary>Whether a device is announced to be taken, so that its trainer leaves; otherwise it vanishes.</summary>
    public bool IsNoticed { get; init; } = true;

    /// <summary>Seconds from the notice until the device is taken.</summary>
    public double NoticeSeconds { get; init; } = 30;

    /// <summary>Seconds from the loss of a device until its replacement begins to report.</summary>
    public double ReplacedAfter { get; init; } = 90;

    /// <summary>Seconds of a step with all devices, exchange of gradients included.</summary>
    public double StepSeconds { get; init; } = 10;

    /// <summary>Number of weights; a gradient has 4 bytes for each.</summary>
    public double Parameters { get; init; } = 1.16e9;

    /// <summary>Bytes of a state: weights, two moments.</summary>
    public double StateBytes { get; init; } = 14e9;

    /// <summary>Bytes per second of a device's network, in each direction.</summary>
    public double Bandwidth { get; init; } = 25e9 / 8;

    /// <summary>Number of devices that compute while all are there.</summary>
    public int Members => Math.Min(Devices, Shards);

    /// <summary>Bytes of a gradient.</summary>
    public double GradientBytes => 4 * Parameters;
}

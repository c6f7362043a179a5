// A worker: the owner of a device. Its grain runs on the device's silo and answers for it.
using Atelier.Contracts.Queueing;
using Orleans.Concurrency;

namespace Atelier.Contracts.Workers;

/// <summary>The key of a worker's grain: a silo's name and a device's.</summary>
/// <param name="Silo">Name of the silo.</param>
/// <param name="Device">Name of the device within it.</param>
[GenerateSerializer, Immutable, Alias("atelier.WorkerKey")]
public readonly record struct WorkerKey([property: Id(0)] string Silo, [property: Id(1)] string Device)
{
    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
    public static bool TryParse(string? text, out WorkerKey key)
    {
        int slash = text?.LastIndexOf('/') ?? -1;
        bool valid = slash > 0 && slash < text!.Length - 1;
        key = valid ? new WorkerKey(text![..slash], text[(slash + 1)..]) : default;
        return valid;
    }

    /// <summary>Silo and device, separated by a slash.</summary>
    public override string ToString() => $"{Silo}/{Device}";
}

/// <summary>The status of a worker.</summary>
[GenerateSerializer, Immutable, Alias("atelier.WorkerStatus")]
public sealed record WorkerStatus
{
    /// <summary>Its silo and device.</summary>
    [Id(0)]
    public required WorkerKey Key { get; init; }

    /// <summary>Its device kind.</summary>
    [Id(1)]
    public required string DeviceKind { get; init; }

    /// <summary>The kinds of work that it may do.</summary>
    [Id(2)]
    public required WorkRoles Roles { get; init; }

    /// <summary>Pictures that it can denoise in a batch.</summary>
    [Id(3)]
    public required int Slots { get; init; }

    /// <summary>Number of work items that it holds.</summary>
    [Id(4)]
    public int Held { get; init; }

    /// <summary>The model in memory; null if none.</summary>
    [Id(5)]
    public ModelDigest? Model { get; init; }

    /// <summary>Whether it is draining and takes no more work.</summary>
    [Id(6)]
    public bool Draining { get; init; }
}

/// <summary>A worker; its key is a <see cref="WorkerKey"/>.</summary>
[Alias("atelier.IWorkerGrain")]
public interface IWorkerGrain : IGrainWithStringKey
{
    /// <summary>Its current status.</summary>
    [Alias("Status")]
    Task<WorkerStatus> StatusAsync();

    /// <summary>Notifies the worker that there is work, so that an idle one asks the queue.</summary>
    [Alias("Wake"), OneWay]
    Task WakeAsync();

    /// <summary>
    /// Stops taking work, releases what it holds with snapshots, and completes once it holds nothing.
    /// </summary>
    [Alias("Drain")]
    Task DrainAsync();
}

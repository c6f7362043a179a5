// A worker: the loop that owns a device. Its grain runs on the device's silo and represents the worker to callers.
using Atelier.Contracts.Queueing;
using Orleans.Concurrency;

namespace Atelier.Contracts.Workers;

/// <summary>The key of a worker's grain: the names of a silo and a device.</summary>
/// <param name="Silo">Name of the silo.</param>
/// <param name="Device">Name of the device within the silo.</param>
[GenerateSerializer, Immutable, Alias("atelier.WorkerKey")]
public readonly record struct WorkerKey([property: Id(0)] string Silo, [property: Id(1)] string Device)
{
    /// <summary>Parses the output of <see cref="ToString"/>.</summary>
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
    /// <summary>The worker's silo and device.</summary>
    [Id(0)]
    public required WorkerKey Key { get; init; }

    /// <summary>The worker's device kind.</summary>
    [Id(1)]
    public required string DeviceKind { get; init; }

    /// <summary>The kinds of work that the worker may do.</summary>
    [Id(2)]
    public required WorkRoles Roles { get; init; }

    /// <summary>Maximum number of pictures that the worker denoises at once.</summary>
    [Id(3)]
    public required int Slots { get; init; }

    /// <summary>Number of work items that the worker holds.</summary>
    [Id(4)]
    public int Held { get; init; }

    /// <summary>The model that was loaded last; null before the first load.</summary>
    [Id(5)]
    public ModelDigest? Model { get; init; }

    /// <summary>Whether the worker is draining and takes no more work.</summary>
    [Id(6)]
    public bool Draining { get; init; }
}

/// <summary>A worker; the grain's key is a <see cref="WorkerKey"/>.</summary>
[Alias("atelier.IWorkerGrain")]
public interface IWorkerGrain : IGrainWithStringKey
{
    /// <summary>The worker's current status.</summary>
    [Alias("Status")]
    Task<WorkerStatus> StatusAsync();

    /// <summary>Notifies the worker that there is work, so that an idle worker takes a turn at the queue.</summary>
    [Alias("Wake"), OneWay]
    Task WakeAsync();

    /// <summary>Notifies the worker's silo that the cluster's published models have changed.</summary>
    [Alias("ModelsChanged"), OneWay]
    Task ModelsChangedAsync();

    /// <summary>
    /// Drains the worker: it takes no more work and releases the work that it holds, with snapshots. Completes once the
    /// worker holds nothing.
    /// </summary>
    [Alias("Drain")]
    Task DrainAsync();
}

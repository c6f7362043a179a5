namespace Atelier.Contracts.Queueing;

/// <summary>The kinds of work that a picture takes.</summary>
[GenerateSerializer, Alias("atelier.WorkKind")]
public enum WorkKind
{
    /// <summary>Encodes prompts into caption features.</summary>
    Encode,

    /// <summary>Denoises noise into a clean latent, step by step.</summary>
    Denoise,

    /// <summary>Decodes a clean latent into a picture.</summary>
    Decode,
}

/// <summary>The kinds of work that a worker is configured to do.</summary>
[Flags, GenerateSerializer, Alias("atelier.WorkRoles")]
public enum WorkRoles
{
    /// <summary>No kind of work.</summary>
    None = 0,

    /// <summary>Text encoding.</summary>
    Encode = 1,

    /// <summary>Denoising.</summary>
    Denoise = 2,

    /// <summary>Decoding of latents.</summary>
    Decode = 4,

    /// <summary>All kinds of work.</summary>
    All = 7,
}

/// <summary>The role that each kind of work requires.</summary>
public static class WorkKinds
{
    /// <summary>The role that does this kind of work.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No role does it.</exception>
    public static WorkRoles Role(this WorkKind kind) => kind switch
    {
        WorkKind.Encode => WorkRoles.Encode,
        WorkKind.Denoise => WorkRoles.Denoise,
        WorkKind.Decode => WorkRoles.Decode,
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "No role does this kind of work."),
    };
}

/// <summary>One piece of work in a queue: a phase of a generation.</summary>
[GenerateSerializer, Immutable, Alias("atelier.WorkItem")]
public sealed record WorkItem
{
    /// <summary>
    /// Maximum number of quanta in one item, which is also the maximum number of a generation's steps.
    /// </summary>
    public const int QuantaMax = 1000;

    /// <summary>The generation that the work belongs to.</summary>
    [Id(0)]
    public required GenerationKey Generation { get; init; }

    /// <summary>The kind of work.</summary>
    [Id(1)]
    public required WorkKind Kind { get; init; }

    /// <summary>The tenant's weight: its share relative to other tenants.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>
    /// Number of quanta left, after each of which the work may stop and resume elsewhere. A denoising step is a
    /// quantum; other work is a single quantum.
    /// </summary>
    [Id(3)]
    public required int Quanta { get; init; }

    /// <summary>Predicted floating-point operations of all these quanta.</summary>
    [Id(4)]
    public required double Cost { get; init; }

    /// <summary>When the generation was accepted. This time orders a tenant's work.</summary>
    [Id(5)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>Whether the work is in quarantine, that is, must run on a worker that holds no other work.</summary>
    [Id(6)]
    public bool Alone { get; init; }

    /// <summary>The device kind that the snapshot requires; null if any will do.</summary>
    [Id(7)]
    public string? DeviceKind { get; init; }

    /// <summary>
    /// The time from which any device kind will do, at the price of a restart; by the clock of the silo that set it.
    /// </summary>
    [Id(8)]
    public DateTimeOffset? AnyKindFrom { get; init; }

    /// <summary>
    /// The last lease under which the work was claimed. Later leases have higher numbers, even after a restart of the
    /// queue.
    /// </summary>
    [Id(9)]
    public long LastLease { get; init; }

    /// <summary>
    /// The worker whose claim on the work has not ended; null if the work waits for a worker. A queue that has just
    /// started reserves the work for that worker until the worker has reported what it holds.
    /// </summary>
    [Id(10)]
    public string? ClaimedBy { get; init; }

    /// <summary>
    /// How long the work waits for its device kind, counted from its arrival in the queue, because the clocks of two
    /// silos may differ.
    /// </summary>
    [Id(11)]
    public TimeSpan? AnyKindAfter { get; init; }

    /// <summary>The model that the work needs.</summary>
    [Id(12)]
    public ModelDigest Model { get; init; }

    /// <summary>Version of the weight; the largest version known to the queue wins.</summary>
    [Id(13)]
    public long WeightVersion { get; init; }

    /// <summary>Predicted floating-point operations of the generation's later phases.</summary>
    [Id(14)]
    public double CostAfter { get; init; }
}

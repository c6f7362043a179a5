namespace Atelier.Contracts.Queueing;

/// <summary>The three kinds of work that a picture takes.</summary>
[GenerateSerializer, Alias("atelier.WorkKind")]
public enum WorkKind
{
    /// <summary>Words to caption features.</summary>
    Encode,

    /// <summary>Noise to a clean latent, step by step.</summary>
    Denoise,

    /// <summary>A clean latent to a picture.</summary>
    Decode,
}

/// <summary>The kinds of work that a worker's configuration lets it do.</summary>
[Flags, GenerateSerializer, Alias("atelier.WorkRoles")]
public enum WorkRoles
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>A text encoder.</summary>
    Encode = 1,

    /// <summary>A denoiser.</summary>
    Denoise = 2,

    /// <summary>A decoder of latents.</summary>
    Decode = 4,

    /// <summary>All three.</summary>
    All = 7,
}

/// <summary>What a kind of work asks of a worker.</summary>
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
    /// <summary>Most quanta in one item: the steps of a generation.</summary>
    public const int QuantaMax = 1000;

    /// <summary>Whose work it is.</summary>
    [Id(0)]
    public required GenerationKey Generation { get; init; }

    /// <summary>What is to be done.</summary>
    [Id(1)]
    public required WorkKind Kind { get; init; }

    /// <summary>The tenant's weight: its share against other tenants'.</summary>
    [Id(2)]
    public double Weight { get; init; } = 1;

    /// <summary>Pieces after each of which the work may stop and go on elsewhere: steps left, or 1.</summary>
    [Id(3)]
    public required int Quanta { get; init; }

    /// <summary>Predicted floating-point operations of all these quanta together.</summary>
    [Id(4)]
    public required double Cost { get; init; }

    /// <summary>When the generation was accepted: a tenant's work is done in this order.</summary>
    [Id(5)]
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>Whether it is in quarantine: it runs on a worker that holds nothing else.</summary>
    [Id(6)]
    public bool Alone { get; init; }

    /// <summary>The device kind that its snapshot needs; none if any will do.</summary>
    [Id(7)]
    public string? DeviceKind { get; init; }

    /// <summary>
    /// From when on any device kind will do, at the price of starting again, by the clock of whoever set it.
    /// </summary>
    [Id(8)]
    public DateTimeOffset? AnyKindFrom { get; init; }

    /// <summary>
    /// The last lease on which it was claimed: leases to come have higher numbers, whichever queue gives them.
    /// </summary>
    [Id(9)]
    public long LastLease { get; init; }

    /// <summary>
    /// The worker whose claim on it has not ended; none if it waits for one. A queue that has just started keeps it for
    /// that worker until it has said what it holds.
    /// </summary>
    [Id(10)]
    public string? ClaimedBy { get; init; }

    /// <summary>
    /// For how long it waits for its device kind, from when the queue hears of it: clocks of two silos may differ.
    /// </summary>
    [Id(11)]
    public TimeSpan? AnyKindAfter { get; init; }

    /// <summary>The model that it needs.</summary>
    [Id(12)]
    public ModelDigest Model { get; init; }

    /// <summary>Number of the change that gave the weight: the largest that the queue knows holds.</summary>
    [Id(13)]
    public long WeightVersion { get; init; }
}

// Pools of silos that are scaled together, as the scaler and the queue see them.
namespace Atelier.Contracts.Scaling;

/// <summary>The bounds of a pool, as the deployment of its silos states them.</summary>
[GenerateSerializer, Immutable, Alias("atelier.PoolBounds")]
public sealed record PoolBounds
{
    /// <summary>Minimum number of silos; with 0, an idle pool scales to zero.</summary>
    [Id(0)]
    public required int Minimum { get; init; }

    /// <summary>Maximum number of silos.</summary>
    [Id(1)]
    public required int Maximum { get; init; }

    /// <summary>Wait within which requests should begin.</summary>
    [Id(2)]
    public required TimeSpan TargetWait { get; init; }

    /// <summary>Time from the order of a silo until it takes work.</summary>
    [Id(3)]
    public required TimeSpan ColdStart { get; init; }

    /// <summary>Whether the pool's silos draw pictures.</summary>
    [Id(4)]
    public bool Serves { get; init; } = true;

    /// <summary>Whether the pool's silos train.</summary>
    [Id(5)]
    public bool Trains { get; init; }
}

/// <summary>The state of a pool. A silo has one device.</summary>
/// <param name="Wanted">Number of silos that the pool should have.</param>
/// <param name="Ready">Number of silos that are members of the cluster.</param>
/// <param name="Backlog">
/// Predicted time in which one device would do all work that waits and all that is left of the work in progress; null
/// until the speed of a device was measured.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.PoolStatus")]
public sealed record PoolStatus(
    [property: Id(0)] int Wanted, [property: Id(1)] int Ready, [property: Id(2)] TimeSpan? Backlog);

/// <summary>A pool of silos that are scaled together; the grain's key is the pool's name.</summary>
[Alias("atelier.IPoolGrain")]
public interface IPoolGrain : IGrainWithStringKey
{
    /// <summary>The metadata of a silo that names its pool.</summary>
    const string Metadata = "atelier.pool";

    /// <summary>How many silos the pool has and should have now.</summary>
    /// <param name="bounds">The bounds; the minimum does not exceed the maximum.</param>
    [Alias("Status")]
    Task<PoolStatus> StatusAsync(PoolBounds bounds);
}

/// <summary>The part of the queue's work that a pool's silos may do.</summary>
[GenerateSerializer, Immutable, Alias("atelier.PoolWork")]
public sealed record PoolWork
{
    /// <summary>
    /// Predicted floating-point operations of the work that waits, and of what is left of the work that workers hold,
    /// with all later phases.
    /// </summary>
    [Id(0)]
    public required double Backlog { get; init; }

    /// <summary>Operations of all requests that the queue has accepted since it started.</summary>
    [Id(1)]
    public required double Arrived { get; init; }

    /// <summary>Workers of the pool that hold work.</summary>
    [Id(2)]
    public required int Leased { get; init; }

    /// <summary>Mean of the operations per second that the pool's workers report; null if none reports any.</summary>
    [Id(3)]
    public required double? Speed { get; init; }

    /// <summary>The models that the work is for.</summary>
    [Id(4)]
    public required ModelDigest[] Models { get; init; }
}

/// <summary>Workers that are starting, as the queue tells clients that wait for them.</summary>
/// <param name="Models">The models that they will hold.</param>
/// <param name="In">Expected time until the first of them takes work.</param>
/// <param name="Speed">Expected operations per second of each; null if unknown.</param>
[GenerateSerializer, Immutable, Alias("atelier.PoolStart")]
public sealed record PoolStart(
    [property: Id(0)] ModelDigest[] Models, [property: Id(1)] TimeSpan In, [property: Id(2)] double? Speed);

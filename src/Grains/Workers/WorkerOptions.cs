// What can be set about workers, and what values make sense.
namespace Atelier.Grains.Workers;

/// <summary>How workers behave.</summary>
public sealed class WorkerOptions
{
    /// <summary>
    /// Gets or sets how long a worker without work sleeps before it looks again; a queue wakes it sooner.
    /// </summary>
    /// <value>The default is 0.5 seconds.</value>
    public TimeSpan IdlePeriod { get; set; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Gets or sets the time between two snapshots of a picture.</summary>
    /// <remarks>What was done since the last one is done again when a worker dies.</remarks>
    /// <value>The default is 1 second; the first step under a claim is always stored.</value>
    public TimeSpan SnapshotPeriod { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the pause before a call whose outcome is unknown is made again.</summary>
    /// <value>The default is 0.25 seconds.</value>
    public TimeSpan RetryPause { get; set; } = TimeSpan.FromSeconds(0.25);

    /// <summary>Gets or sets how often such a call is made.</summary>
    /// <value>The default is 8.</value>
    public int TriesMax { get; set; } = 8;

    /// <summary>Gets or sets how long a worker may take to hand back what it holds when its silo stops.</summary>
    /// <value>The default is 10 seconds.</value>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Gets or sets how long a worker leaves a model alone that it could not load.</summary>
    /// <value>The default is 1 minute.</value>
    public TimeSpan RefusedModelPause { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>Gets or sets how often a worker confirms to the catalogue which models it can hold.</summary>
    /// <value>The default is 30 seconds.</value>
    public TimeSpan ConfirmPeriod { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Gets or sets what becomes of a fault that the loop does not know: the process is the fault domain.
    /// </summary>
    /// <value>The default ends the process.</value>
    public Action<Exception> OnFault { get; set; } =
        error =>
            Environment.FailFast("A worker met a fault that it does not know; its supervisor starts it again.", error);

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when IdlePeriod <= TimeSpan.Zero => $"{nameof(IdlePeriod)} must be positive.",
        _ when SnapshotPeriod < TimeSpan.Zero => $"{nameof(SnapshotPeriod)} must not be negative.",
        _ when RetryPause <= TimeSpan.Zero => $"{nameof(RetryPause)} must be positive.",
        { TriesMax: < 1 } => $"{nameof(TriesMax)} must be at least 1, not {TriesMax}.",
        _ when ConfirmPeriod <= TimeSpan.Zero => $"{nameof(ConfirmPeriod)} must be positive.",
        _ when DrainTimeout <= TimeSpan.Zero => $"{nameof(DrainTimeout)} must be positive.",
        _ => null,
    };
}

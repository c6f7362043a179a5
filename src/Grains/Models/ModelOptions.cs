// What can be set about the catalogue of models, and what values make sense.
namespace Atelier.Grains.Models;

/// <summary>How the catalogue behaves.</summary>
public sealed class ModelOptions
{
    /// <summary>Gets or sets how long after a worker's word a model counts as held by a live worker.</summary>
    /// <remarks>
    /// Shorter than two of <see cref="Workers.WorkerOptions.ConfirmPeriod"/>, one lost call would retire a model.
    /// </remarks>
    /// <value>The default is 2 minutes.</value>
    public TimeSpan ConfirmedFor { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// Gets or sets how long open generations of a model wait for a worker when another model has taken its name.
    /// </summary>
    /// <remarks>After that they end as failed. A model whose name is not taken is waited for without end.</remarks>
    /// <value>The default is 10 minutes.</value>
    public TimeSpan RetiredPatience { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when ConfirmedFor <= TimeSpan.Zero => $"{nameof(ConfirmedFor)} must be positive.",
        _ when RetiredPatience < ConfirmedFor =>
            $"{nameof(RetiredPatience)} must be at least {nameof(ConfirmedFor)}, not {RetiredPatience}.",
        _ => null,
    };
}

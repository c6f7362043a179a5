// The options of the catalog of models.
using Atelier.Configuration;

namespace Atelier.Grains.Models;

/// <summary>The catalog of models: confirmations by workers, and retirement.</summary>
[Section("Models"), ClusterWide]
public sealed class ModelOptions
{
    /// <summary>Gets or sets the period at which a worker confirms its models to the catalog.</summary>
    /// <value>The default is 30 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan ConfirmPeriod { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Gets or sets how long after a worker's last confirmation a model counts as held by a live worker.
    /// </summary>
    /// <remarks>
    /// It must be at least twice <see cref="ConfirmPeriod"/>; otherwise one lost call would retire a model.
    /// </remarks>
    /// <value>The default is 2 minutes.</value>
    [Bounds("00:00:00.001", "365.00:00:00")]
    public TimeSpan ConfirmedFor { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// Gets or sets how long open generations of a model wait for a worker after another model has taken its name.
    /// </summary>
    /// <remarks>
    /// After that they fail. It must be at least <see cref="ConfirmedFor"/>. If no other model takes the name, they
    /// wait without limit.
    /// </remarks>
    /// <value>The default is 10 minutes.</value>
    [Bounds("00:00:00.001", "365.00:00:00")]
    public TimeSpan RetiredPatience { get; set; } = TimeSpan.FromMinutes(10);
}

/// <summary>Validates the catalog's options.</summary>
internal sealed class ModelOptionsValidator : OptionsValidator<ModelOptions>
{
    protected override IEnumerable<string> Faults(ModelOptions options)
    {
        if (options.ConfirmedFor < 2 * options.ConfirmPeriod)
        {
            yield return $"{Key(nameof(options.ConfirmedFor))} is {options.ConfirmedFor}; it must be at least twice "
                + $"{Key(nameof(options.ConfirmPeriod))} ({options.ConfirmPeriod}), or a lost call retires a model.";
        }

        if (options.RetiredPatience < options.ConfirmedFor)
        {
            yield return $"{Key(nameof(options.RetiredPatience))} is {options.RetiredPatience}; it must be at least "
                + $"{Key(nameof(options.ConfirmedFor))} ({options.ConfirmedFor}).";
        }
    }
}

// The options of the published models on a silo's disk.
using Atelier.Configuration;

namespace Atelier.Silo.Models;

/// <summary>Published models on a silo's disk.</summary>
[Section("ModelCache")]
public sealed class ModelCacheOptions
{
    /// <summary>
    /// Gets or sets the folder of published models. Each silo has a folder of its own in it, which is created if it
    /// does not exist.
    /// </summary>
    /// <value>The default is "atelier-data/models".</value>
    public string Folder { get; set; } = "atelier-data/models";

    /// <summary>
    /// Gets or sets the space for published models. The key is in MiB. A model that does not fit is not offered by this
    /// silo.
    /// </summary>
    /// <remarks>
    /// A file that several models share takes its space once. While a model is published, its denoiser takes space too.
    /// </remarks>
    /// <value>The default is 65536.</value>
    [Key("ModelCache:Megabytes", Unit = 1 << 20)]
    [Bounds(1, int.MaxValue)]
    public long BytesMax { get; set; } = 64L << 30;

    /// <summary>
    /// Gets or sets the pause after which a model that could not be fetched is fetched again. It doubles with every
    /// failure, up to Models:ConfirmPeriod.
    /// </summary>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan RetryPause { get; set; } = TimeSpan.FromSeconds(1);
}

/// <summary>Validates the options of published models on a silo's disk.</summary>
internal sealed class ModelCacheOptionsValidator : OptionsValidator<ModelCacheOptions>
{
    protected override IEnumerable<string> Faults(ModelCacheOptions options)
    {
        if (string.IsNullOrWhiteSpace(options.Folder))
        {
            yield return $"{Key(nameof(options.Folder))} must be the path of a folder.";
        }
    }
}

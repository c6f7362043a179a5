// The options of training data that are in the blob store.
using Atelier.Configuration;

namespace Atelier.Silo.Training.Data;

/// <summary>The cache for training data from the blob store.</summary>
[Section("TrainingData")]
public sealed class TrainingDataOptions
{
    /// <summary>
    /// Gets or sets the folder in which training data from the blob store are cached. Each silo has a subfolder with
    /// its name.
    /// </summary>
    /// <remarks>It should be on a fast local disk. What is in it may be deleted while no silo runs.</remarks>
    /// <value>The default is "atelier-data/training".</value>
    public string CacheFolder { get; set; } = "atelier-data/training";

    /// <summary>Gets or sets the maximum size of a silo's cached training data. The key is in MiB.</summary>
    /// <remarks>
    /// A shard is read once an epoch if the cache holds the shards of two windows of the sample order, up to 65,536
    /// samples. With less, shards are fetched repeatedly.
    /// </remarks>
    /// <value>The default is 16384.</value>
    [Key("TrainingData:CacheMegabytes", Unit = 1 << 20)]
    [Bounds(1, int.MaxValue)]
    public long CacheBytes { get; set; } = 16L << 30;

    /// <summary>
    /// Gets or sets the time for which the fetching of a file is retried. After that the trainer leaves the stage,
    /// which says why, and tries again later.
    /// </summary>
    /// <value>The default is 2 minutes.</value>
    [Bounds("00:00:00", "1.00:00:00")]
    public TimeSpan FetchTimeout { get; set; } = TimeSpan.FromMinutes(2);
}

/// <summary>Validates the options of training data.</summary>
internal sealed class TrainingDataOptionsValidator : OptionsValidator<TrainingDataOptions>
{
    protected override IEnumerable<string> Faults(TrainingDataOptions options)
    {
        if (string.IsNullOrWhiteSpace(options.CacheFolder))
        {
            yield return $"{Key(nameof(options.CacheFolder))} must be the path of a folder.";
        }
    }
}

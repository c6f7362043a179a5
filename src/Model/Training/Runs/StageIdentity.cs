// The identity of a stage and the resolved settings of its steps, which are the same for `train` and for a cluster.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Atelier.Model.Runtime;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Derives a stage's identity and settings from its configuration.</summary>
public static class StageIdentity
{
    /// <summary>The settings of a step, with the number of threads for each shard.</summary>
    public static TrainingSettings Settings(StageConfig config) =>
        config.StepSettings with { ThreadsPerShard = config.StepSettings.ThreadsPerShard ?? 1 };

    /// <summary>
    /// The identity of a run on this process's device: everything besides the run's position that its bits depend on.
    /// </summary>
    public static RunIdentity Of(StageConfig config, ITrainingData data) => new()
    {
        Stage = config.Name,
        Network = NetworkJson(config),
        Seed = config.Seed,
        Batch = config.StepSettings.GlobalBatch,
        Shards = config.StepSettings.Shards,
        ThreadsPerShard = Settings(config).ThreadsPerShard!.Value,
        Precision = Precision.Name(config.Compute),
        MaskRatio = config.StepSettings.MaskRatio,
        LatentColumn = config.LatentColumn,
        Samples = data.Count,
        Data = data.Digest,
        OrderVersion = SampleOrder.Version,
        Device = ProcessorKind.TrainingName,
    };

    /// <summary>
    /// The digest by which checkpoints of earlier releases identify the run. This computation must never change.
    /// </summary>
    public static string EarlierDigest(StageConfig config, ITrainingData data)
    {
        string text = $"{NetworkJson(config)} {config.Seed} {config.StepSettings.GlobalBatch} "
            + $"{config.Compute} {data.Count} {config.Name} {config.LatentColumn} {config.StepSettings.MaskRatio:r}";
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }

    private static string NetworkJson(StageConfig config)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            config.Network.WriteJson(writer);
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }
}

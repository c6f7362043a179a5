// The identity of a stage, and the settings of its steps as they are resolved: the same for `train` and for a cluster.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Atelier.Model.Runtime;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Resolves stages.</summary>
public static class StageIdentity
{
    /// <summary>The settings of a step, with the number of threads for each shard.</summary>
    public static TrainingSettings Settings(StageConfig config) =>
        config.StepSettings with { ThreadsPerShard = config.StepSettings.ThreadsPerShard ?? 1 };

    /// <summary>What a run's bits depend on besides its position, on this process's device.</summary>
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

    /// <summary>The run's digest in checkpoints of earlier releases. This must never change.</summary>
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

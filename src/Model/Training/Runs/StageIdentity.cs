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
    private static readonly string[] s_withoutWeights =
        ["input_size", "pos_interp_scale", "norm_eps", "expert_capacity"];

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
        Streams = data.Mix.Name,
        OrderVersion = config.OrderVersion,
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

    /// <summary>
    /// Why a stage cannot start from the weights of an earlier one, as the end of a sentence; null if it can. The
    /// stages may differ in what changes no weight: the size of the pictures, the scale of positions, the experts'
    /// capacity.
    /// </summary>
    /// <param name="stage">The stage.</param>
    /// <param name="before">The earlier stage.</param>
    public static string? NetworkDifference(StageConfig stage, StageConfig before)
    {
        using JsonDocument own = JsonDocument.Parse(NetworkJson(stage));
        using JsonDocument other = JsonDocument.Parse(NetworkJson(before));
        string[] differences =
        [
            .. own.RootElement.EnumerateObject()
                .Where(member => !s_withoutWeights.Contains(member.Name)
                    && member.Value.GetRawText() != other.RootElement.GetProperty(member.Name).GetRawText())
                .Select(member => $"{member.Name} is {member.Value.GetRawText()}, and "
                    + $"{other.RootElement.GetProperty(member.Name).GetRawText()} in {before.Name}"),
        ];
        return differences.Length == 0 ? null : string.Join("; ", differences);
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

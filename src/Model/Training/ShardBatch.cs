// The samples of a shard, and their source.
using Atelier.Model.Networks;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>
/// The samples of one shard with all random numbers that their loss needs. b is the number of usable samples in the
/// shard, which may be 0.
/// </summary>
/// <param name="Latents">Clean latents [b, C, H, W], float32.</param>
/// <param name="Captions">Caption features [b, L, channels]; zeros where the caption was dropped.</param>
/// <param name="NoiseLevels">The noise level σ of each of the b samples.</param>
/// <param name="UnitNoise">Standard normal noise [b, C, H, W].</param>
/// <param name="Mask">Patches that the backbone sees; null for all.</param>
public sealed record ShardBatch(
    Tensor Latents, Tensor Captions, double[] NoiseLevels, Tensor UnitNoise, PatchMask? Mask) : IDisposable
{
    /// <summary>Indices of the b samples in the data; empty if they are not known.</summary>
    public IReadOnlyList<int> Samples { get; init; } = [];

    /// <summary>Samples of the shard that were left out.</summary>
    public IReadOnlyList<BadSample> LeftOut { get; init; } = [];

    /// <summary>The same shard on a device.</summary>
    public ShardBatch To(Device device) => device.type == Latents.device_type
        ? this
        : new ShardBatch(Latents.to(device), Captions.to(device), NoiseLevels, UnitNoise.to(device), Mask?.To(device))
        {
            Samples = Samples, LeftOut = LeftOut,
        };

    /// <inheritdoc/>
    public void Dispose()
    {
        Latents.Dispose();
        Captions.Dispose();
        UnitNoise.Dispose();
        Mask?.Dispose();
    }
}

/// <summary>A source of shards. The same step and shard always give the same numbers.</summary>
public interface IShardSource
{
    /// <summary>
    /// Reads samples [step G + shard B, step G + (shard + 1) B) of the run's order, without unusable samples, where a
    /// batch has G samples and a shard B. The caller disposes them.
    /// </summary>
    ShardBatch Read(long step, int shard);
}

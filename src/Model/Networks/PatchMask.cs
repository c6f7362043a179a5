// The choice of patches that the backbone sees in masked training.
using static TorchSharp.torch;

namespace Atelier.Model.Networks;

/// <summary>A random subset of patches for each picture of a batch.</summary>
/// <param name="Keep">Indices of the visible patches, in the order of their noise, [B, k] int64.</param>
/// <param name="Restore">
/// For each patch, its position in the order of the noise, [B, T] int64; patches at position k or later are masked.
/// </param>
/// <param name="Masked">1 for each masked patch and 0 for each visible patch, [B, T] float32.</param>
public sealed record PatchMask(Tensor Keep, Tensor Restore, Tensor Masked) : IDisposable
{
    /// <summary>
    /// Number of visible patches among <paramref name="length"/>: length (1 - ratio) in float64, truncated. Because of
    /// rounding, a ratio of 0.9 keeps 9 of 100 patches.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">
    /// The ratio is outside [0, 1), or leaves no patch visible.
    /// </exception>
    public static int KeptOf(int length, double ratio)
    {
        if (!(ratio >= 0 && ratio < 1))
        {
            throw new ArgumentOutOfRangeException(nameof(ratio), ratio, "A mask ratio must be in [0, 1).");
        }

        int kept = Truncated(length, ratio);
        return kept > 0 ? kept : throw new ArgumentOutOfRangeException(
            nameof(ratio), ratio, $"This mask ratio leaves none of {length} patches visible.");
    }

    /// <summary>
    /// length (1 - ratio) in float64, truncated: the rule of <see cref="KeptOf"/> without its checks. The result may be
    /// 0.
    /// </summary>
    public static int Truncated(int length, double ratio) => (int)(length * (1 - ratio));

    /// <summary>
    /// Keeps the patches with the smallest values in each row of uniform noise [B, T]; among equal values, earlier
    /// patches come first.
    /// </summary>
    public static PatchMask FromNoise(ReadOnlySpan<float> noise, int batch, double ratio)
    {
        int length = noise.Length / batch, kept = KeptOf(length, ratio);
        var keep = new long[batch * kept];
        var restore = new long[batch * length];
        var masked = new float[batch * length];
        var key = new float[length];
        var order = new int[length];
        for (int row = 0; row < batch; row++)
        {
            noise.Slice(row * length, length).CopyTo(key);
            for (int i = 0; i < length; i++)
            {
                order[i] = i;
            }

            Array.Sort(order, (a, b) => key[a] != key[b] ? key[a].CompareTo(key[b]) : a.CompareTo(b));
            for (int place = 0; place < length; place++)
            {
                int patch = order[place];
                restore[(row * length) + patch] = place;
                masked[(row * length) + patch] = place < kept ? 0 : 1;
                if (place < kept)
                {
                    keep[(row * kept) + place] = patch;
                }
            }
        }

        return new PatchMask(
            tensor(keep, [batch, kept]), tensor(restore, [batch, length]), tensor(masked, [batch, length]));
    }

    /// <summary>Selects the visible tokens of [B, T, D]: [B, k, D].</summary>
    public Tensor Select(Tensor tokens) => tokens.gather(1, Keep.unsqueeze(-1).expand(-1, -1, tokens.shape[2]));

    /// <summary>
    /// Puts predictions [B, k, D] of visible tokens into their places, [B, T, D], and <paramref name="filler"/>
    /// [1, 1, D] into all other places.
    /// </summary>
    public Tensor Fill(Tensor seen, Tensor filler)
    {
        using var scope = NewDisposeScope();
        long missing = Restore.shape[1] - seen.shape[1];
        Tensor all = cat([seen, filler.to(seen.dtype).expand(seen.shape[0], missing, -1)], dim: 1);
        return all.gather(1, Restore.unsqueeze(-1).expand(-1, -1, seen.shape[2])).MoveToOuterDisposeScope();
    }

    /// <summary>The same mask on another device.</summary>
    public PatchMask To(Device device) => new(Keep.to(device), Restore.to(device), Masked.to(device));

    /// <inheritdoc/>
    public void Dispose()
    {
        Keep.Dispose();
        Restore.Dispose();
        Masked.Dispose();
    }
}

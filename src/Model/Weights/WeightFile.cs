// The detection of weight files by their content, because the names and extensions of downloads are unreliable.
namespace Atelier.Model.Weights;

/// <summary>Opens weight files of every supported kind.</summary>
public static class WeightFile
{
    private const string Known = "safetensors, a safetensors index, or a PyTorch checkpoint (zip or legacy)";

    /// <summary>Opens a safetensors file, a sharded index or a PyTorch checkpoint.</summary>
    /// <exception cref="RefusedFileException">The file is damaged, hostile or of another kind.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    public static IWeightSource Open(string path) => ByteSource.Open(path, Open);

    /// <summary>Opens a file that is not an index, so that an index cannot refer to itself.</summary>
    internal static IWeightSource OpenSingle(string path) =>
        ByteSource.Open(path, source => OpenSingle(source) ?? throw source.Refuse("start", $"is not {Known}"));

    internal static IWeightSource Open(ByteSource source)
    {
        if (OpenSingle(source) is { } single)
        {
            return single;
        }

        if (!LooksLikeJson(source))
        {
            throw source.Refuse("start", $"is not {Known}");
        }

        using (source)
        {
            return new ShardedWeights(source);
        }
    }

    private static IWeightSource? OpenSingle(ByteSource source)
    {
        Span<byte> start = stackalloc byte[TorchCheckpoint.SignatureBytes];
        start = start[..(int)Math.Min(start.Length, source.Length)];
        source.Read(0, start, "start");
        if (TorchCheckpoint.HasSignature(start))
        {
            return new TorchCheckpoint(source);
        }

        // A JSON file may have a brace at the same position, but never a zero byte before it, which every valid header
        // length has. Absurdly large lengths pass this check, so that the reader refuses them with the reason.
        const int LengthBytes = SafeTensorsHeader.LengthBytes;
        var isSafeTensors = start.Length > LengthBytes && start[LengthBytes] == '{'
            && start[LengthBytes - 1] is (0 or >= 0x7f);
        return isSafeTensors ? new SafeTensorsFile(source) : null;
    }

    private static bool LooksLikeJson(ByteSource source)
    {
        Span<byte> start = stackalloc byte[64];
        start = start[..(int)Math.Min(start.Length, source.Length)];
        source.Read(0, start, "start");
        var text = start.TrimStart(" \t\r\n"u8);
        return !text.IsEmpty && text[0] == '{';
    }
}

// Strict loading of weight files into networks. Nothing is ignored silently: tensors that are missing, unexpected or of
// another shape are counted, and the first of each kind are listed, before anything is written.
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>Loads state dicts strictly.</summary>
public static class StrictLoader
{
    // Maximum number of faults of each kind that an error message lists, and of characters of a name in it. More would
    // not help.
    private const int ListedMax = 4;
    private const int NameCharsMax = 120;

    /// <summary>
    /// Fills every parameter and persistent buffer of a module. Floating-point tensors are converted to the module's
    /// type, piece by piece; equal types are read straight into the tensor's memory. Tensors may be on any device.
    /// </summary>
    /// <param name="module">The network; its tensors are contiguous.</param>
    /// <param name="source">The file.</param>
    /// <param name="rename">Maps a name in the file to the module's name; null to skip that tensor.</param>
    /// <param name="reshape">
    /// Maps a tensor's name in the module and its shape in the file to its shape in the module, which must have the
    /// same number of elements.
    /// </param>
    /// <param name="ignore">
    /// Names in the module, or prefixes with a trailing '*', that are neither loaded nor required.
    /// </param>
    /// <param name="checkFinite">Whether to refuse NaN and infinities, naming the first tensor that has one.</param>
    /// <exception cref="RefusedFileException">The names, shapes or types differ, or a number is not finite.</exception>
    public static void Load(
        nn.Module module, IWeightSource source, Func<string, string?>? rename = null,
        Func<string, long[], long[]>? reshape = null, IReadOnlyCollection<string>? ignore = null,
        bool checkFinite = false)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(source);
        using var noGrad = no_grad();
        foreach (var (info, target) in Match(
            module, source, rename ?? (name => name), reshape ?? ((_, shape) => shape), ignore ?? []))
        {
            Copy(source, info, target, checkFinite);
        }
    }

    private static List<(TensorInfo Info, Tensor Target)> Match(
        nn.Module module, IWeightSource source, Func<string, string?> rename, Func<string, long[], long[]> reshape,
        IReadOnlyCollection<string> ignore)
    {
        var wanted = module.state_dict().Where(pair => !Ignores(ignore, pair.Key))
            .ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);
        var found = new Dictionary<string, TensorInfo>(StringComparer.Ordinal);
        List<string> unexpected = [], twice = [], differing = [];
        foreach (var info in source.Tensors.Values.OrderBy(info => info.Name, StringComparer.Ordinal))
        {
            if (rename(info.Name) is not { } name || Ignores(ignore, name))
            {
                continue;
            }

            if (!wanted.TryGetValue(name, out var target))
            {
                unexpected.Add($"unexpected {Short(name)} {info}");
            }
            else if (!found.TryAdd(name, info))
            {
                twice.Add($"{Short(name)} comes from both {Short(found[name].Name)} and {Short(info.Name)}");
            }
            else if (!Fits(info, reshape(name, info.Shape), target))
            {
                var type = ElementTypes.FromTorch(target.dtype).Code();
                differing.Add(
                    $"{Short(name)} is {info} in the file, {TensorInfo.Describe(type, target.shape)} in the model");
            }
        }

        List<string> missing =
            [.. wanted.Keys.Except(found.Keys).Order(StringComparer.Ordinal).Select(name => $"missing {Short(name)}")];
        int faults = unexpected.Count + twice.Count + differing.Count + missing.Count;
        return faults == 0
            ? [.. found.Select(pair => (pair.Value, wanted[pair.Key]))]
            : throw new RefusedFileException(source.Path, "state dict",
                $"{faults} tensors do not match the model: "
                + string.Join("; ",
                [
                    .. First(unexpected, "unexpected"), .. First(twice, "that come from two tensors"),
                    .. First(differing, "of another shape"), .. First(missing, "missing"),
                ]));
    }

    private static IEnumerable<string> First(List<string> faults, string sort) => faults.Count <= ListedMax
        ? faults : faults.Take(ListedMax).Append($"{faults.Count - ListedMax} more {sort}");

    private static string Short(string name) => name.Length <= NameCharsMax ? name : name[..NameCharsMax] + "...";

    private static bool Ignores(IReadOnlyCollection<string> ignore, string name) => ignore.Any(pattern =>
        pattern.EndsWith('*') ? name.StartsWith(pattern[..^1], StringComparison.Ordinal) : name == pattern);

    private static bool Fits(TensorInfo info, long[] shape, Tensor target)
    {
        var type = ElementTypes.FromTorch(target.dtype);
        return target.shape.SequenceEqual(shape) && (type == info.Type || (type.IsFloat() && info.Type.IsFloat()));
    }

    private static void Copy(IWeightSource source, TensorInfo info, Tensor target, bool checkFinite)
    {
        foreach ((long first, Tensor piece) in TensorPieces.Of(target))         // [count], the target's own memory
        {
            using var scope = NewDisposeScope();
            using Tensor own = piece;
            var isDirect = piece.device_type == DeviceType.CPU && piece.dtype == info.Type.ToTorch();
            var staged = isDirect ? piece : empty(piece.shape, dtype: info.Type.ToTorch(), device: CPU);
            source.Read(info.Name, first * info.Type.Size(), staged.bytes);
            if (!isDirect)
            {
                piece.copy_(staged);
            }

            if (checkFinite && piece.is_floating_point() && !isfinite(piece).all().item<bool>())
            {
                throw new RefusedFileException(source.Path, $"tensor \"{info.Name}\"",
                    $"holds a NaN or an infinity among its elements {first} to {first + piece.numel() - 1}");
            }
        }
    }
}

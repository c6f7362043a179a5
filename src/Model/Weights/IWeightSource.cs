// The interface of every kind of weight file, with operations for all of them: reading a whole tensor, and viewing the
// part of a checkpoint under a prefix.
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>
/// Named tensors in a file, read piece by piece into existing memory. Opening checks the whole structure, so that
/// reading can fail only if the disk fails or the file changes in the meantime.
/// </summary>
public interface IWeightSource : IDisposable
{
    /// <summary>Path of the file as given by the caller.</summary>
    string Path { get; }

    /// <summary>All tensors by name.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Reads a part of a tensor's row-major bytes.</summary>
    /// <param name="name">A name in <see cref="Tensors"/>.</param>
    /// <param name="start">Offset of the first byte within the tensor, a multiple of the element size.</param>
    /// <param name="destination">Receives the bytes; its length is a multiple of the element size.</param>
    /// <exception cref="ArgumentException">The name is unknown, or the range is not inside the tensor.</exception>
    /// <exception cref="RefusedFileException">The file was truncated after it was opened.</exception>
    void Read(string name, long start, Span<byte> destination);
}

/// <summary>Operations on all weight sources.</summary>
public static class WeightSources
{
    // Prefixes under which trainers store the model's tensors in a checkpoint, the longest first.
    private static readonly string[] s_nests = ["state.model.", "state_dict.", "model."];

    // Prefixes that torch's distributed and compiled modules add to every name.
    private static readonly string[] s_wrappers = ["module.", "_orig_mod."];

    // Real files nest these prefixes once or twice; deeper nesting is an attempt to waste time.
    private const int PrefixesMax = 8;

    /// <summary>Reads a whole tensor.</summary>
    /// <param name="source">The file.</param>
    /// <param name="name">A name in its <see cref="IWeightSource.Tensors"/>.</param>
    /// <param name="destination">Receives the bytes; exactly as long as the tensor.</param>
    /// <exception cref="ArgumentException">The name is unknown, or the length differs.</exception>
    public static void ReadInto(this IWeightSource source, string name, Span<byte> destination)
    {
        ArgumentNullException.ThrowIfNull(source);
        var info = source.Require(name, start: 0, length: 0);
        if (destination.Length != info.ByteLength)
        {
            throw new ArgumentException(
                $"Tensor \"{name}\" has {info.ByteLength} bytes, but the destination has {destination.Length}.",
                nameof(destination));
        }

        source.Read(name, 0, destination);
    }

    /// <summary>
    /// Reads a whole tensor into a new tensor on the CPU, in its stored type. The caller owns the new tensor.
    /// </summary>
    /// <exception cref="ArgumentException">The name is unknown.</exception>
    public static Tensor ReadTensor(this IWeightSource source, string name)
    {
        ArgumentNullException.ThrowIfNull(source);
        var info = source.Require(name, start: 0, length: 0);
        var tensor = empty(info.Shape, dtype: info.Type.ToTorch());
        source.ReadInto(name, tensor.bytes);
        return tensor;
    }

    /// <summary>
    /// A view of the tensors whose names begin with a prefix, which is removed. Owns <paramref name="source"/>.
    /// </summary>
    public static IWeightSource Under(this IWeightSource source, string prefix)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(prefix);
        return prefix.Length == 0 ? source : new PrefixedWeights(source, prefix);
    }

    /// <summary>
    /// Finds a model's state dict in a training checkpoint: the tensors under "state.model", "state_dict" or "model",
    /// or else those at the top level. If any of their names starts with the component's own prefix, only these tensors
    /// are taken. The prefixes "module." of distributed modules and "_orig_mod." of compiled modules are removed at
    /// every level, in any order, if all names have them. Owns <paramref name="source"/>.
    /// </summary>
    /// <param name="source">The file.</param>
    /// <param name="component">The wanted part of the model, such as "dit", "vae" or "text_encoder".</param>
    public static IWeightSource FindModel(this IWeightSource source, string component)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentException.ThrowIfNullOrEmpty(component);
        string prefix = "";
        bool isNested = false, isComponent = false;
        for (int i = 0; i < PrefixesMax; i++)
        {
            string[] names =
            [
                .. source.Tensors.Keys.Where(name => name.StartsWith(prefix, StringComparison.Ordinal))
                    .Select(name => name[prefix.Length..]),
            ];
            bool Holds(string next) => names.Any(name => name.StartsWith(next, StringComparison.Ordinal));
            bool AllHave(string next) =>
                names.Length > 0 && names.All(name => name.StartsWith(next, StringComparison.Ordinal));
            if (s_wrappers.FirstOrDefault(AllHave) is { } wrapper)
            {
                prefix += wrapper;
            }
            else if (!isComponent && !isNested && s_nests.FirstOrDefault(Holds) is { } nest)
            {
                prefix += nest;
                isNested = true;
            }
            else if (!isComponent && Holds($"{component}."))
            {
                prefix += $"{component}.";
                isComponent = true;
            }
            else
            {
                break;
            }
        }

        return source.Under(prefix);
    }

    /// <summary>Checks the arguments of <see cref="IWeightSource.Read"/>.</summary>
    internal static TensorInfo Require(this IWeightSource source, string name, long start, int length)
    {
        if (!source.Tensors.TryGetValue(name, out var info))
        {
            throw new ArgumentException($"{source.Path} has no tensor \"{name}\".", nameof(name));
        }

        var size = info.Type.Size();
        if (start < 0 || start > info.ByteLength - length || start % size != 0 || length % size != 0)
        {
            throw new ArgumentException(
                $"Tensor \"{name}\" has {info.ByteLength} bytes in elements of {size}; "
                + $"{length} bytes from {start} are not a part of it.", nameof(start));
        }

        return info;
    }

    private sealed class PrefixedWeights(IWeightSource source, string prefix) : IWeightSource
    {
        public string Path => source.Path;

        public IReadOnlyDictionary<string, TensorInfo> Tensors { get; } = source.Tensors.Values
            .Where(info => info.Name.StartsWith(prefix, StringComparison.Ordinal))
            .Select(info => new TensorInfo(info.Name[prefix.Length..], info.Type, info.Shape))
            .ToDictionary(info => info.Name, StringComparer.Ordinal);

        public void Read(string name, long start, Span<byte> destination) =>
            source.Read(prefix + name, start, destination);

        public void Dispose() => source.Dispose();
    }
}

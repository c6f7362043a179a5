// One face for every kind of weight file, and the two things that work on all of them: reading a whole tensor, and
// looking at the part of a checkpoint that lies under a prefix.
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>
/// Named tensors in a file, read piece by piece into memory that already exists. Opening checks the whole structure,
/// so that reading can only fail when the disk does or the file is changed underneath.
/// </summary>
public interface IWeightSource : IDisposable
{
    /// <summary>Path of the file as the caller gave it.</summary>
    string Path { get; }

    /// <summary>All tensors by name.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Reads a part of a tensor's row-major bytes.</summary>
    /// <param name="name">A name in <see cref="Tensors"/>.</param>
    /// <param name="start">Offset of the first byte within the tensor, a multiple of the element size.</param>
    /// <param name="destination">Is filled; its length is a multiple of the element size.</param>
    /// <exception cref="ArgumentException">The name is unknown or the part does not lie in the tensor.</exception>
    /// <exception cref="RefusedFileException">The file became shorter since it was opened.</exception>
    void Read(string name, long start, Span<byte> destination);
}

/// <summary>What can be done with every weight source.</summary>
public static class WeightSources
{
    // Where trainers put the model's own tensors in a checkpoint, the deepest nest first.
    private static readonly string[] s_nests = ["state.model.", "state_dict.", "model."];

    // What torch's distributed and compiled modules put before every name.
    private static readonly string[] s_wrappers = ["module.", "_orig_mod."];

    // Each of the prefixes above at most once or twice; more is a file made to be walked for long.
    private const int PrefixesMax = 8;

    /// <summary>Reads a whole tensor.</summary>
    /// <param name="source">The file.</param>
    /// <param name="name">A name in its <see cref="IWeightSource.Tensors"/>.</param>
    /// <param name="destination">Exactly as long as the tensor.</param>
    /// <exception cref="ArgumentException">The name is unknown or the length differs.</exception>
    public static void ReadInto(this IWeightSource source, string name, Span<byte> destination)
    {
        ArgumentNullException.ThrowIfNull(source);
        var info = source.Require(name, start: 0, length: 0);
        if (destination.Length != info.ByteLength)
        {
            throw new ArgumentException(
                $"Tensor \"{name}\" has {info.ByteLength} bytes, the destination {destination.Length}.",
                nameof(destination));
        }

        source.Read(name, 0, destination);
    }

    /// <summary>Reads a whole tensor into a new one on the CPU, of its own type. The caller owns it.</summary>
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
    /// Shows only the tensors whose names begin with a prefix, without it. Owns <paramref name="source"/>.
    /// </summary>
    public static IWeightSource Under(this IWeightSource source, string prefix)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(prefix);
        return prefix.Length == 0 ? source : new PrefixedWeights(source, prefix);
    }

    /// <summary>
    /// Finds a model's state dict in a training checkpoint: the tensors under "state.model", "state_dict", "model" or
    /// at the top, and there under the component's own prefix if any has it. The prefixes "module." of distributed and
    /// "_orig_mod." of compiled modules are taken off at every level, in any order, where all names have them. Owns
    /// <paramref name="source"/>.
    /// </summary>
    /// <param name="source">The file.</param>
    /// <param name="component">The part of the model that is wanted, such as "dit", "vae" or "text_encoder".</param>
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
                + $"{length} bytes from {start} are no part of it.", nameof(start));
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

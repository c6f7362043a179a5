// The saving of networks as safetensors files, the counterpart of StrictLoader.
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>Writes state dicts.</summary>
public static class StateDictFile
{
    /// <summary>
    /// Saves every parameter and persistent buffer of a module. Tensors are copied piece by piece; the file appears
    /// under its name only when it is complete.
    /// </summary>
    /// <param name="module">The network, on any device.</param>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="floats">The type for all floating-point tensors; null to keep their types.</param>
    /// <param name="metadata">Strings for the header.</param>
    /// <exception cref="ArgumentException"><paramref name="floats"/> is not a floating-point type.</exception>
    public static void Save(
        nn.Module module, string path,
        ElementType? floats = null, IReadOnlyDictionary<string, string>? metadata = null) =>
        Save(module, path, (_, own) => floats ?? own, metadata);

    /// <summary>Saves a module as the other overload does, with a type for each tensor.</summary>
    /// <param name="module">The network, on any device.</param>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="floats">
    /// Gives the type in which to save a floating-point tensor, by its name and current type.
    /// </param>
    /// <param name="metadata">Strings for the header.</param>
    /// <exception cref="ArgumentException">
    /// <paramref name="floats"/> returned a type that is not floating-point.
    /// </exception>
    public static void Save(
        nn.Module module, string path, Func<string, ElementType, ElementType> floats,
        IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(floats);
        var state = module.state_dict();
        using var noGrad = no_grad();
        var tensors = state.Select(pair => Describe(pair.Key, pair.Value, floats));
        using var writer = new SafeTensorsWriter(path, tensors, metadata);
        foreach (var info in writer.Order)
        {
            Append(writer, info, state[info.Name]);
        }

        writer.Commit();
    }

    private static TensorInfo Describe(string name, Tensor tensor, Func<string, ElementType, ElementType> floats)
    {
        var type = ElementTypes.FromTorch(tensor.dtype);
        if (!type.IsFloat())
        {
            return new TensorInfo(name, type, tensor.shape);
        }

        var saved = floats(name, type);
        return saved.IsFloat()
            ? new TensorInfo(name, saved, tensor.shape)
            : throw new ArgumentException(
                $"Floats are saved as F64, F32, F16 or BF16, not as {saved.Code()}.", nameof(floats));
    }

    private static void Append(SafeTensorsWriter writer, TensorInfo info, Tensor tensor)
    {
        for (long first = 0; first < info.ElementCount; first += TensorPieces.Elements)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(TensorPieces.Elements, info.ElementCount - first);
            var piece = tensor.detach().flatten().narrow(0, first, count);      // [count]
            writer.Append(info.Name, piece.to(info.Type.ToTorch()).cpu().bytes);
        }
    }
}

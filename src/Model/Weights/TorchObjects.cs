// The globals that a torch pickle may name, as data. The table is complete: a pickle that names anything else is
// refused, and nothing it names is ever looked up, loaded or called.
using System.Collections.Frozen;

namespace Atelier.Model.Weights;

/// <summary>The effect of a known global when a pickle "calls" it.</summary>
internal enum TorchRole
{
    /// <summary>Cannot be called: a type object.</summary>
    Constant,

    /// <summary>A type of storage, named in persistent ids.</summary>
    StorageType,

    /// <summary>Yields a dict from nothing or from a list of pairs.</summary>
    Dict,

    /// <summary>Yields a tensor from storage, offset, sizes and strides.</summary>
    Tensor,

    /// <summary>Yields its first argument: the tensor of a parameter, or the tuple of a size.</summary>
    FirstArgument,

    /// <summary>Yields a value that is not needed.</summary>
    Inert,
}

/// <summary>An entry of the table of known globals.</summary>
internal sealed record TorchGlobal(string Name, TorchRole Role, ElementType Type = default);

/// <summary>Turns persistent ids and reductions into storages and tensors, and keeps the storages.</summary>
internal sealed class TorchObjects
{
    // A view may repeat elements, as an expanded tensor does; if such a view exceeds this size, it is refused.
    private const long MaxRepeatedBytes = 64 << 20;
    private const int MaxKeyChars = 64;

    private static readonly FrozenDictionary<string, TorchGlobal> s_known =
        Known().ToFrozenDictionary(global => global.Name);

    private readonly Dictionary<string, TorchStorage> _storages = new(StringComparer.Ordinal);

    /// <summary>All storages named by persistent ids, by key.</summary>
    public IReadOnlyDictionary<string, TorchStorage> Storages => _storages;

    /// <summary>Finds a global by its module and name, or refuses the file.</summary>
    public static TorchGlobal Find(PickleInput input, string module, string name) =>
        s_known.GetValueOrDefault($"{module}.{name}") ?? throw input.Refuse(
            $"names {Show(module)}.{Show(name)}, which is not a known global; nothing a pickle names is ever called");

    /// <summary>The storage of a persistent id.</summary>
    public TorchStorage Storage(PickleInput input, object? id)
    {
        // A sixth item is the range of a view, which only torch before 0.4 wrote.
        if ((id as PickleTuple)?.Items is not
            ["storage", TorchGlobal { Role: TorchRole.StorageType } global, string key, string, long count, .. var rest]
            || rest is not ([] or [null]) || key.Length > MaxKeyChars)
        {
            throw input.Refuse("a persistent id is not (\"storage\", type, key, location, count)");
        }

        if (TensorInfo.Measure([count], global.Type.Size(), out var bytes) is { } fault)
        {
            throw input.Refuse($"storage \"{Show(key)}\": {fault}");
        }

        if (!_storages.TryGetValue(key, out var storage))
        {
            storage = new TorchStorage(key, global.Type, count, bytes);
            _storages.Add(key, storage);
        }

        return storage.Type == global.Type && storage.Count == count
            ? storage
            : throw input.Refuse($"storage \"{Show(key)}\" is named with two types or two sizes");
    }

    /// <summary>The value of a call, constructed from its arguments without calling anything.</summary>
    public static object? Reduce(PickleInput input, TorchGlobal function, object?[] arguments) => function.Role switch
    {
        TorchRole.Dict => Dict(input, arguments),
        TorchRole.Tensor => Tensor(input, arguments),
        TorchRole.FirstArgument when arguments.Length > 0 => arguments[0],
        TorchRole.Inert => PickleInert.Instance,
        _ => throw input.Refuse($"{function.Name} is called with {arguments.Length} arguments, which is not valid"),
    };

    private static PickleDict Dict(PickleInput input, object?[] arguments)
    {
        var dict = new PickleDict();
        if (arguments is [])
        {
            return dict;
        }

        var items = arguments is [PickleList list]
            ? list.Items : throw input.Refuse("a dict is made from something other than a list");
        foreach (var item in items)
        {
            dict.Pairs.Add(item switch
            {
                PickleTuple { Items: [var key, var value] } => new(key, value),
                PickleList { Items: [var key, var value] } => new(key, value),
                _ => throw input.Refuse("a dict is made from something other than pairs"),
            });
        }

        return dict;
    }

    // _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks[, metadata])
    private static TorchTensor Tensor(PickleInput input, object?[] arguments)
    {
        if (arguments is not [TorchStorage storage, long offset, PickleTuple size, PickleTuple stride, _, _, ..])
        {
            throw input.Refuse("a tensor is made from something other than storage, offset, sizes and strides");
        }

        var shape = Numbers(input, size);
        var strides = Numbers(input, stride);
        if (shape.Length != strides.Length)
        {
            throw input.Refuse($"a tensor has {shape.Length} sizes and {strides.Length} strides");
        }

        if (TensorInfo.Measure(shape, storage.Type.Size(), out var bytes) is { } fault)
        {
            throw input.Refuse(fault);
        }

        // 128 bits are enough for the sum of 64 products of two 63-bit numbers.
        Int128 extent = bytes == 0 ? 0 : 1;
        for (var d = 0; d < shape.Length && bytes > 0; d++)
        {
            extent += (Int128)(shape[d] - 1) * strides[d];
        }

        if (offset < 0 || strides.Any(s => s < 0) || offset + extent > storage.Count)
        {
            throw input.Refuse($"a tensor [{string.Join(", ", shape)}] with strides [{string.Join(", ", strides)}] "
                + $"from element {offset} is not inside its storage of {storage.Count} elements");
        }

        if (bytes > storage.Bytes && bytes > MaxRepeatedBytes)
        {
            throw input.Refuse($"a tensor repeats the {storage.Bytes} bytes of its storage to {bytes}");
        }

        return new TorchTensor(storage, offset, shape, strides, (long)extent);
    }

    private static long[] Numbers(PickleInput input, PickleTuple tuple)
    {
        if (tuple.Items.Length > TensorInfo.MaxRank)
        {
            throw input.Refuse(
                $"a tensor has {tuple.Items.Length} dimensions; at most {TensorInfo.MaxRank} are allowed");
        }

        return [.. tuple.Items.Select(item =>
            item is long number ? number : throw input.Refuse("a size or stride is not a 64-bit integer"))];
    }

    // Text from the file, prepared for messages: without control characters, and limited in length.
    private static string Show(string text) =>
        new([.. text.Take(MaxKeyChars).Select(c => char.IsControl(c) ? '?' : c)]);

    private static IEnumerable<TorchGlobal> Known()
    {
        yield return new("collections.OrderedDict", TorchRole.Dict);
        yield return new("torch._utils._rebuild_tensor_v2", TorchRole.Tensor);
        yield return new("torch._utils._rebuild_parameter", TorchRole.FirstArgument);
        yield return new("torch.Size", TorchRole.FirstArgument);
        yield return new("datetime.timedelta", TorchRole.Inert);
        yield return new("_codecs.encode", TorchRole.Inert);
        yield return new("numpy.dtype", TorchRole.Inert);
        yield return new("numpy.ndarray", TorchRole.Constant);
        foreach (var module in (string[])["numpy.core.multiarray", "numpy._core.multiarray"])
        {
            yield return new($"{module}._reconstruct", TorchRole.Inert);
            yield return new($"{module}.scalar", TorchRole.Inert);
        }

        foreach (var (storage, names, type) in ((string, string[], ElementType)[])
        [
            ("Double", ["float64", "double"], ElementType.Float64),
            ("Float", ["float32", "float"], ElementType.Float32),
            ("Half", ["float16", "half"], ElementType.Float16),
            ("BFloat16", ["bfloat16"], ElementType.BFloat16),
            ("Long", ["int64", "long"], ElementType.Int64),
            ("Int", ["int32", "int"], ElementType.Int32),
            ("Short", ["int16", "short"], ElementType.Int16),
            ("Char", ["int8"], ElementType.Int8),
            ("Byte", ["uint8"], ElementType.UInt8),
            ("Bool", ["bool"], ElementType.Bool),
        ])
        {
            yield return new($"torch.{storage}Storage", TorchRole.StorageType, type);
            foreach (var name in names)
            {
                yield return new($"torch.{name}", TorchRole.Constant, type);
            }
        }
    }
}

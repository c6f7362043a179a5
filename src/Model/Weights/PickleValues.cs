// The values of an unpickled file, which are plain data. Numbers are boxed long, BigInteger, double and bool; text is
// string; None is null. Containers compare by reference and are never traversed here, because they may be deep or
// contain themselves.
namespace Atelier.Model.Weights;

/// <summary>A Python tuple.</summary>
internal sealed class PickleTuple(object?[] items)
{
    public static readonly PickleTuple Empty = new([]);

    public object?[] Items => items;
}

/// <summary>A Python list.</summary>
internal sealed class PickleList
{
    public List<object?> Items { get; } = [];
}

/// <summary>A Python dict or OrderedDict, in insertion order.</summary>
internal sealed class PickleDict
{
    public List<KeyValuePair<object?, object?>> Pairs { get; } = [];
}

/// <summary>The result of a known reduction whose value is not needed, such as a time span.</summary>
internal sealed class PickleInert
{
    public static readonly PickleInert Instance = new();
}

/// <summary>A torch storage: a run of elements of one type somewhere in the file.</summary>
internal sealed class TorchStorage(string key, ElementType type, long count, long bytes)
{
    public string Key => key;

    public ElementType Type => type;

    public long Count => count;

    public long Bytes => bytes;

    /// <summary>Offset of the first byte in the file; -1 until the storages have been located.</summary>
    public long Start { get; set; } = -1;
}

/// <summary>A torch tensor: a view of a storage, checked to be inside it.</summary>
/// <param name="storage">The elements.</param>
/// <param name="offset">Element at which the view begins.</param>
/// <param name="shape">Sizes, outermost first.</param>
/// <param name="strides">Number of elements between neighbors along each dimension.</param>
/// <param name="extent">Number of elements from the first to the last that the view touches.</param>
internal sealed class TorchTensor(TorchStorage storage, long offset, long[] shape, long[] strides, long extent)
{
    public TorchStorage Storage => storage;

    public long[] Shape => shape;

    /// <summary>Offset of the view's first byte in the file.</summary>
    public long Start => storage.Start + offset * storage.Type.Size();

    /// <summary>Bytes from the first to the last element that the view touches.</summary>
    public long ExtentBytes => extent * storage.Type.Size();

    /// <summary>Whether the elements are in row-major order in the file, without gaps.</summary>
    public bool IsContiguous
    {
        get
        {
            long expected = 1;
            for (var d = shape.Length - 1; d >= 0; d--)
            {
                if (shape[d] != 1 && strides[d] != expected)
                {
                    return extent == 0;
                }

                expected *= shape[d];
            }

            return true;
        }
    }

    /// <summary>Copies elements of a view that is not contiguous, in row-major order.</summary>
    /// <param name="view">The bytes of the view's extent.</param>
    /// <param name="first">Row-major index of the first element.</param>
    /// <param name="destination">Receives the elements.</param>
    public void Gather(ReadOnlySpan<byte> view, long first, Span<byte> destination)
    {
        var size = storage.Type.Size();
        var index = new long[shape.Length];
        long element = 0;
        for (var d = shape.Length - 1; d >= 0; d--)
        {
            (first, index[d]) = Math.DivRem(first, shape[d]);
            element += index[d] * strides[d];
        }

        for (var at = 0; at < destination.Length; at += size)
        {
            view.Slice((int)element * size, size).CopyTo(destination[at..]);
            for (var d = shape.Length - 1; d >= 0; d--)
            {
                element += strides[d];
                if (++index[d] < shape[d])
                {
                    break;
                }

                element -= strides[d] * shape[d];
                index[d] = 0;
            }
        }
    }
}

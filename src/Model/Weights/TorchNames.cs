// The names of tensors and numbers in an unpickled value: the paths that lead to them.
using System.Globalization;

namespace Atelier.Model.Weights;

/// <summary>
/// The tensors and scalars of an unpickled value. A container that contains itself adds no further names; the contents
/// of a shared container appear under each path. The limits bound the growth that sharing can cause.
/// </summary>
internal sealed class TorchNames
{
    private const int MaxDepth = 64;
    private const int MaxVisits = 1 << 20;
    private const int MaxNameChars = 1024;
    private const int MaxAllNameChars = 8 << 20;
    private const int MaxScalarChars = 1024;

    private readonly ByteSource _source;
    private readonly Dictionary<string, TorchTensor> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, TensorInfo> _infos = new(StringComparer.Ordinal);
    private readonly Dictionary<string, object> _scalars = new(StringComparer.Ordinal);
    private readonly List<object> _path = [];
    private int _visits;
    private int _nameChars;

    public TorchNames(ByteSource source, object? root)
    {
        _source = source;
        Visit(root, "");
    }

    public IReadOnlyDictionary<string, TorchTensor> Tensors => _tensors;

    public IReadOnlyDictionary<string, TensorInfo> Infos => _infos;

    public IReadOnlyDictionary<string, object> Scalars => _scalars;

    private void Visit(object? value, string name)
    {
        if (++_visits > MaxVisits)
        {
            throw _source.Refuse("checkpoint", $"has more than {MaxVisits} values");
        }

        switch (value)
        {
            case TorchTensor tensor:
                AddTensor(tensor, name);
                break;
            case PickleDict or PickleList or PickleTuple when !_path.Any(outer => ReferenceEquals(outer, value)):
                VisitContainer(value, name);
                break;
            case long or double or bool or string { Length: <= MaxScalarChars }:
                _scalars[name] = value;
                break;
        }
    }

    // MaxDepth limits the depth of the recursion.
    private void VisitContainer(object container, string name)
    {
        if (_path.Count == MaxDepth)
        {
            throw _source.Refuse("checkpoint", $"containers are nested deeper than {MaxDepth}");
        }

        _path.Add(container);
        if (container is PickleDict dict)
        {
            foreach (var (key, value) in dict.Pairs)
            {
                VisitChild(key, value, name);
            }
        }
        else
        {
            var items = container is PickleList list ? list.Items : (IList<object?>)((PickleTuple)container).Items;
            for (var i = 0; i < items.Count; i++)
            {
                VisitChild((long)i, items[i], name);
            }
        }

        _path.RemoveAt(_path.Count - 1);
    }

    private void VisitChild(object? key, object? value, string name)
    {
        // Values under other keys (None, tuples) have no name; state dicts do not have such keys.
        if (key is string or long)
        {
            var text = Convert.ToString(key, CultureInfo.InvariantCulture)!;
            Visit(value, _path.Count == 1 ? Charge(text) : Charge($"{name}.{text}"));
        }
    }

    private string Charge(string name)
    {
        _nameChars += name.Length;
        if (name.Length > MaxNameChars || _nameChars > MaxAllNameChars)
        {
            throw _source.Refuse("checkpoint",
                $"a name has more than {MaxNameChars} characters, or all names have more than {MaxAllNameChars}");
        }

        return name;
    }

    private void AddTensor(TorchTensor tensor, string name)
    {
        if (!_tensors.TryAdd(name, tensor))
        {
            throw _source.Refuse($"tensor \"{name}\"", "occurs twice");
        }

        if (!tensor.IsContiguous && tensor.ExtentBytes > Array.MaxLength)
        {
            throw _source.Refuse($"tensor \"{name}\"", $"is a strided view over {tensor.ExtentBytes} bytes");
        }

        _infos.Add(name, new TensorInfo(name, tensor.Storage.Type, tensor.Shape));
    }
}

namespace Atelier.Model.Data.Mds;

/// <summary>One sample of a data set: the bytes of the requested columns, decoded on demand.</summary>
public sealed class MdsSample
{
    private readonly string _file;
    private readonly int _number;
    private readonly IReadOnlyList<MdsColumn> _columns;
    private readonly ReadOnlyMemory<byte>?[] _fields;

    internal MdsSample(
        string file, int number, IReadOnlyList<MdsColumn> columns, ReadOnlyMemory<byte>?[] fields)
    {
        _file = file;
        _number = number;
        _columns = columns;
        _fields = fields;
    }

    /// <summary>The columns that were read, in the data set's order.</summary>
    public IEnumerable<MdsColumn> Columns => _columns.Where((_, i) => _fields[i] is not null);

    /// <summary>A column's stored bytes.</summary>
    /// <exception cref="ArgumentException">The column is unknown or was not read.</exception>
    public ReadOnlyMemory<byte> Bytes(string column) => _fields[Find(column)]!.Value;

    /// <summary>A column's decoded value, of the type that <see cref="MdsEncoding"/> names.</summary>
    /// <exception cref="ArgumentException">The column is unknown or was not read.</exception>
    /// <exception cref="RefusedFileException">The bytes are not a value of the column's encoding.</exception>
    public object Value(string column)
    {
        int i = Find(column);
        return _columns[i].Encoding.Decode(_fields[i]!.Value, _file, $"sample {_number}, column '{column}'");
    }

    /// <summary>A column's decoded value.</summary>
    /// <typeparam name="T">The type of the column's values; see <see cref="MdsEncoding"/>.</typeparam>
    /// <exception cref="ArgumentException">The column is unknown, was not read, or holds another type.</exception>
    /// <exception cref="RefusedFileException">The bytes are not a value of the column's encoding.</exception>
    public T Get<T>(string column)
    {
        var encoding = _columns[Find(column)].Encoding;
        return encoding.ValueType == typeof(T)
            ? (T)Value(column)
            : throw new ArgumentException(
                $"Column '{column}' ({encoding.Name}) holds {encoding.ValueType.Name}, not {typeof(T).Name}.",
                nameof(column));
    }

    private int Find(string column)
    {
        for (int i = 0; i < _columns.Count; i++)
        {
            if (_columns[i].Name == column)
            {
                return _fields[i] is not null
                    ? i
                    : throw new ArgumentException($"Column '{column}' was not read with this sample.", nameof(column));
            }
        }

        throw new ArgumentException(
            $"There is no column '{column}'; the columns are {string.Join(", ", _columns.Select(c => c.Name))}.",
            nameof(column));
    }
}

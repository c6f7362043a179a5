// The bytes of one or more pickles, read forwards through a small buffer, so that a pickle in front of gigabytes of
// storages costs only its own length.
namespace Atelier.Model.Weights;

/// <summary>A bounded forward reader that tracks its position in the file.</summary>
internal sealed class PickleInput
{
    private const int WindowBytes = 64 << 10;
    private const int MaxLiteralBytes = 16 << 20;
    private const int MaxLineBytes = 256;

    private readonly ByteSource _source;
    private readonly string _place;
    private readonly long _start;
    private readonly long _end;
    private readonly byte[] _window;
    private long _next;
    private int _at;
    private int _filled;

    /// <summary>Starts at the first byte of a range.</summary>
    /// <param name="source">The file.</param>
    /// <param name="place">Name of the range for messages, such as "data.pkl".</param>
    /// <param name="start">Offset of the first byte.</param>
    /// <param name="end">End offset, exclusive.</param>
    public PickleInput(ByteSource source, string place, long start, long end)
    {
        (_source, _place, _start, _end, _next) = (source, place, start, end, start);
        _window = new byte[Math.Min(WindowBytes, end - start)];
    }

    /// <summary>Offset of the next byte in the file.</summary>
    public long Position => _next - (_filled - _at);

    private long Remaining => _end - Position;

    public RefusedFileException Refuse(string reason) => _source.Refuse($"{_place} byte {Position - _start}", reason);

    public byte Byte() => Take(1)[0];

    /// <summary>Reads the next bytes, which stay valid until the next call.</summary>
    public ReadOnlySpan<byte> Take(long count)
    {
        if (count < 0 || count > Remaining)
        {
            throw Refuse($"the pickle declares {count} bytes here, but only {Remaining} remain");
        }

        if (count > MaxLiteralBytes)
        {
            throw Refuse($"a literal has {count} bytes; at most {MaxLiteralBytes} are allowed");
        }

        if (count > _window.Length)
        {
            var literal = _source.ReadArray(Position, count, _place);
            _next = Position + count;
            (_at, _filled) = (0, 0);
            return literal;
        }

        if (count > _filled - _at)
        {
            Refill();
        }

        _at += (int)count;
        return _window.AsSpan(_at - (int)count, (int)count);
    }

    /// <summary>Reads the text up to the next line feed, which is skipped.</summary>
    public string Line()
    {
        Span<char> line = stackalloc char[MaxLineBytes];
        for (var length = 0; length < line.Length; length++)
        {
            var next = Byte();
            if (next == '\n')
            {
                return new string(line[..length]);
            }

            line[length] = (char)next;
        }

        throw Refuse($"a name is longer than {MaxLineBytes} bytes");
    }

    private void Refill()
    {
        var position = Position;
        _filled = (int)Math.Min(_window.Length, _end - position);
        _source.Read(position, _window.AsSpan(0, _filled), _place);
        _next = position + _filled;
        _at = 0;
    }
}

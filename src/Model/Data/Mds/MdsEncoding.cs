// The encoding of a column's values as bytes. An encoding is identified by its name in index.json.
using System.Collections.Frozen;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Atelier.Model.Imaging;

namespace Atelier.Model.Data.Mds;

/// <summary>
/// A column's encoding, and the .NET type of its values: string for <c>str</c>; ReadOnlyMemory of byte for
/// <c>bytes</c>; long for <c>int</c>; the type of that name for <c>int8</c> to <c>uint64</c> and <c>float16</c> to
/// <c>float64</c> (Half for float16); <see cref="MdsArray"/> for <c>ndarray[:type[:extents]]</c>;
/// <see cref="RgbImage"/> for <c>jpeg</c> and <c>png</c>; JsonElement for <c>json</c>; BigInteger for <c>str_int</c>;
/// double for <c>str_float</c>; and a string of digits for <c>str_decimal</c>. <c>pkl</c> is refused because reading it
/// would run code; <c>pil</c>, <c>jpeg_array</c> and lists are not supported.
/// </summary>
public sealed class MdsEncoding
{
    private const int NumberCharsMax = 4096;
    private static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
    private static readonly FrozenDictionary<string, MdsEncoding> Simple = new[]
    {
        Number<long>("int"),
        Number<sbyte>("int8"), Number<short>("int16"), Number<int>("int32"), Number<long>("int64"),
        Number<byte>("uint8"), Number<ushort>("uint16"), Number<uint>("uint32"), Number<ulong>("uint64"),
        Number<Half>("float16"), Number<float>("float32"), Number<double>("float64"),
        Text("str", text => text, text => text),
        Text("str_int", ParseInteger, value => value.ToString(CultureInfo.InvariantCulture)),
        Text("str_float", ParseFloat, value => value.ToString("R", CultureInfo.InvariantCulture)),
        Text("str_decimal", CheckDecimal, CheckDecimal),
        new("bytes", null, typeof(ReadOnlyMemory<byte>), field => field, null),
        new("jpeg", null, typeof(RgbImage), field => ImageCodec.Decode(field.Span), null),
        new("png", null, typeof(RgbImage), field => ImageCodec.Decode(field.Span), null),
        Text("json", ParseJson, value => value.GetRawText()),
    }.ToFrozenDictionary(encoding => encoding.Name);

    private readonly Func<ReadOnlyMemory<byte>, object> _decode;
    private readonly Func<object, byte[]>? _encode;

    private MdsEncoding(
        string name, int? sizeBytes, Type valueType,
        Func<ReadOnlyMemory<byte>, object> decode, Func<object, byte[]>? encode)
    {
        Name = name;
        SizeBytes = sizeBytes;
        ValueType = valueType;
        _decode = decode;
        _encode = encode;
    }

    /// <summary>The name in index.json.</summary>
    public string Name { get; }

    /// <summary>Size of each value in bytes; null if the size varies.</summary>
    public int? SizeBytes { get; }

    /// <summary>The .NET type of a decoded value.</summary>
    public Type ValueType { get; }

    /// <summary>Finds an encoding.</summary>
    /// <exception cref="FormatException">The encoding is unknown, unsafe or not supported.</exception>
    public static MdsEncoding Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (Simple.TryGetValue(name, out var encoding))
        {
            return encoding;
        }

        if (name == "ndarray" || name.StartsWith("ndarray:", StringComparison.Ordinal))
        {
            return Array(name);
        }

        throw new FormatException(name == "pkl"
            ? "the encoding 'pkl' holds pickled objects; reading them would run code, so it is not supported"
            : $"the encoding '{name}' is unknown; supported encodings are {string.Join(", ", Simple.Keys.Order())} "
                + "and ndarray");
    }

    /// <summary>Decodes one field.</summary>
    /// <exception cref="RefusedFileException">The bytes are not a value of this encoding.</exception>
    internal object Decode(ReadOnlyMemory<byte> field, string file, string place)
    {
        try
        {
            return _decode(field);
        }
        catch (RefusedFileException e)
        {
            throw new RefusedFileException(file, place, $"{e.Place}: {e.Reason}", e);
        }
        catch (Exception e) when (e is FormatException or JsonException or DecoderFallbackException)
        {
            throw new RefusedFileException(file, place, e.Message, e);
        }
    }

    /// <summary>
    /// Encodes a value of <see cref="ValueType"/>. Bytes are taken as an encoded field and checked; pictures are
    /// accepted only in this form.
    /// </summary>
    /// <exception cref="ArgumentException">The value has the wrong type, or does not fit the encoding.</exception>
    internal ReadOnlyMemory<byte> Encode(object value, string column)
    {
        try
        {
            switch (value)
            {
                case byte[] field:
                    return Checked(field);
                case ReadOnlyMemory<byte> field:
                    return Checked(field);
                case not null when _encode is not null && value.GetType() == ValueType:
                    return _encode(value);
            }
        }
        catch (Exception e) when (e is RefusedFileException or FormatException or JsonException
            or ArgumentException or InvalidOperationException)
        {
            throw new ArgumentException($"Column '{column}' ({Name}): {e.Message}", nameof(value), e);
        }

        throw new ArgumentException(
            $"Column '{column}' ({Name}) takes {(_encode is null ? "encoded bytes" : ValueType.Name)}, "
            + $"not {value?.GetType().Name ?? "null"}.",
            nameof(value));
    }

    private ReadOnlyMemory<byte> Checked(ReadOnlyMemory<byte> field)
    {
        if (SizeBytes is { } size && field.Length != size)
        {
            throw new FormatException($"a value must have {size} bytes, not {field.Length}");
        }

        if (ValueType == typeof(RgbImage))
        {
            ImageCodec.ReadSize(field.Span);
        }
        else
        {
            _decode(field);
        }

        return field;
    }

    // The format is little-endian, as are all machines that run this program.
    private static MdsEncoding Number<T>(string name) where T : unmanaged => new(
        name, Unsafe.SizeOf<T>(), typeof(T),
        field => MemoryMarshal.Read<T>(field.Span),
        value => MemoryMarshal.AsBytes<T>([(T)value]).ToArray());

    private static MdsEncoding Text<T>(string name, Func<string, T> parse, Func<T, string> print) where T : notnull =>
        new(name, null, typeof(T),
            field => parse(Utf8.GetString(field.Span)),
            value => Utf8.GetBytes(print((T)value)));

    private static MdsEncoding Array(string name)
    {
        var parts = name.Split(':');
        string? type = parts.Length > 1 ? parts[1] : null;
        long[]? shape = parts.Length > 2 ? ParseShape(name, parts[2]) : null;
        if (parts.Length > 3 || (type is not null && !MdsArray.IsType(type)))
        {
            throw new FormatException(
                $"'{name}' is not an array encoding; the form is ndarray[:type[:extent,extent,...]]");
        }

        int? size = shape is null ? null : MdsArray.DataBytes(type!, shape);
        return new MdsEncoding(
            name, size, typeof(MdsArray),
            field => MdsArray.Decode(field, type, shape),
            value => MdsArray.Encode((MdsArray)value, type, shape));
    }

    private static long[] ParseShape(string name, string extents) => [.. extents.Split(',').Select(extent =>
        int.TryParse(extent, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value > 0
            ? value
            : throw new FormatException($"'{extent}' in '{name}' is not an extent from 1 to {int.MaxValue}"))];

    private static JsonElement ParseJson(string text)
    {
        using var document = JsonDocument.Parse(text);
        return document.RootElement.Clone();
    }

    private static BigInteger ParseInteger(string text) =>
        BigInteger.Parse(CheckLength(text), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);

    // Python writes inf and nan where .NET writes Infinity and NaN.
    private static double ParseFloat(string text) => CheckLength(text).ToUpperInvariant() switch
    {
        "INF" or "+INF" => double.PositiveInfinity,
        "-INF" => double.NegativeInfinity,
        _ => double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture),
    };

    private static string CheckDecimal(string text)
    {
        _ = ParseFloat(text);
        return text;
    }

    private static string CheckLength(string text) => text.Length <= NumberCharsMax
        ? text
        : throw new FormatException($"a number has {text.Length} characters; at most {NumberCharsMax} are allowed");
}

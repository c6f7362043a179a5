// A reader of torch.save files, which works without Python and never calls anything that the file names. The current
// format is a zip file with the pickle "data.pkl" and one stored record per storage; the legacy one (torch before 1.6)
// is a sequence of five pickles followed by the storages.
using System.Buffers.Binary;
using System.Numerics;

namespace Atelier.Model.Weights;

/// <summary>
/// An open PyTorch checkpoint: every tensor in it, named by the path of keys and indices that leads to it, joined with
/// dots. A tensor saved on its own has the empty name. Views are read as if they were contiguous.
/// </summary>
public sealed class TorchCheckpoint : IWeightSource
{
    /// <summary>Bytes at the start of a file that identify a checkpoint.</summary>
    internal const int SignatureBytes = 32;

    private const int MaxPickleBytes = 64 << 20;
    private const int MaxByteOrderBytes = 16;
    private const string PickleRecord = "data.pkl";
    private const long LegacyVersion = 1001;

    private static readonly BigInteger s_legacyMagic = BigInteger.Parse("119547037146038801333356");

    private readonly ByteSource _source;
    private readonly TorchObjects _objects = new();
    private readonly TorchNames _names;
    private Extent? _lastExtent;

    internal TorchCheckpoint(ByteSource source)
    {
        _source = source;
        Span<byte> start = stackalloc byte[SignatureBytes];
        start = start[..(int)Math.Min(start.Length, source.Length)];
        source.Read(0, start, "start");
        if (!HasSignature(start))
        {
            throw source.Refuse("start", start is [0x80, ..]
                ? "is a bare pickle, which torch.save never writes"
                : "is not a PyTorch checkpoint, neither zip nor legacy");
        }

        var root = IsZip(start) ? ReadZip() : ReadLegacy();
        _names = new TorchNames(source, root);
    }

    /// <inheritdoc/>
    public string Path => _source.Path;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _names.Infos;

    /// <summary>Numbers, booleans and short strings by their path, as long, double, bool and string.</summary>
    public IReadOnlyDictionary<string, object> Scalars => _names.Scalars;

    /// <summary>Opens a checkpoint and checks every tensor in it against the storages.</summary>
    /// <exception cref="RefusedFileException">
    /// The file is damaged, big-endian, compressed, or names a global that is not needed for weights.
    /// </exception>
    public static TorchCheckpoint Open(string path) => ByteSource.Open(path, source => new TorchCheckpoint(source));

    /// <inheritdoc/>
    public void Read(string name, long start, Span<byte> destination)
    {
        var info = this.Require(name, start, destination.Length);
        var tensor = _names.Tensors[name];
        if (tensor.IsContiguous)
        {
            _source.Read(tensor.Start + start, destination, $"tensor \"{name}\"");
            return;
        }

        // Tensors are read in pieces, one tensor after the other, so the last extent is cached. The field is replaced
        // atomically: at worst, concurrent readers read an extent twice.
        var extent = _lastExtent;
        if (extent?.Tensor != tensor)
        {
            extent = new Extent(tensor, _source.ReadArray(tensor.Start, tensor.ExtentBytes, $"tensor \"{name}\""));
            _lastExtent = extent;
        }

        tensor.Gather(extent.Bytes, start / info.Type.Size(), destination);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _lastExtent = null;
        _source.Dispose();
    }

    /// <summary>Whether the first bytes of a file are those of a zip file or a legacy checkpoint.</summary>
    internal static bool HasSignature(ReadOnlySpan<byte> start) =>
        // The magic number is the first pickle; protocol 4 puts a frame of 9 bytes before it.
        IsZip(start) || (start is [0x80, ..] && start.IndexOf((ReadOnlySpan<byte>)
            [0x8a, 10, .. s_legacyMagic.ToByteArray(), (byte)'.']) is 2 or 11);

    private static bool IsZip(ReadOnlySpan<byte> start) => start.StartsWith("PK\x3\x4"u8);

    private object? ReadZip()
    {
        var zip = new ZipDirectory(_source);
        var pickles = zip.Names.Where(name => name.EndsWith($"/{PickleRecord}", StringComparison.Ordinal)).ToArray();
        if (pickles is not [var pickle])
        {
            throw _source.Refuse("zip directory",
                $"holds {pickles.Length} records named {PickleRecord}; a checkpoint has one");
        }

        var folder = pickle[..^PickleRecord.Length];
        CheckByteOrder(zip, $"{folder}byteorder");
        var (start, length) = zip.Find(pickle)!.Value;
        if (length > MaxPickleBytes)
        {
            throw _source.Refuse(PickleRecord, $"has {length} bytes; at most {MaxPickleBytes} are allowed");
        }

        var root = new PickleReader(new PickleInput(_source, PickleRecord, start, start + length), _objects).Read();
        foreach (var storage in _objects.Storages.Values)
        {
            var record = zip.Find($"{folder}data/{storage.Key}")
                ?? throw _source.Refuse($"storage {storage.Key}", "its record is missing");
            storage.Start = record.Length == storage.Bytes
                ? record.Start
                : throw _source.Refuse($"storage {storage.Key}",
                    $"{storage.Count} elements need {storage.Bytes} bytes, but its record has {record.Length}");
        }

        return root;
    }

    private void CheckByteOrder(ZipDirectory zip, string name)
    {
        if (zip.Find(name) is not { } record)
        {
            return;
        }

        var order = _source.ReadArray(record.Start, Math.Min(record.Length, MaxByteOrderBytes), name);
        if (!order.AsSpan().SequenceEqual("little"u8))
        {
            throw _source.Refuse(name, "only little-endian checkpoints are supported");
        }
    }

    private object? ReadLegacy()
    {
        var input = new PickleInput(_source, "pickle", 0, Math.Min(_source.Length, MaxPickleBytes));
        object? Next() => new PickleReader(input, _objects).Read();
        if (Next() is not BigInteger magic || magic != s_legacyMagic)
        {
            throw input.Refuse("does not begin with torch's magic number");
        }

        if (Next() is not LegacyVersion)
        {
            throw input.Refuse($"does not have version {LegacyVersion}");
        }

        if (Next() is not PickleDict system || !system.Pairs.Contains(new("little_endian", true)))
        {
            throw input.Refuse("only little-endian checkpoints are supported");
        }

        var root = Next();
        LocateLegacyStorages(input, Next());
        return root;
    }

    private void LocateLegacyStorages(PickleInput input, object? keys)
    {
        if (keys is not PickleList list)
        {
            throw input.Refuse("the storages are not listed");
        }

        var position = input.Position;
        Span<byte> count = stackalloc byte[sizeof(long)];
        foreach (var key in list.Items)
        {
            if (key is not string name || !_objects.Storages.TryGetValue(name, out var storage) || storage.Start >= 0)
            {
                throw input.Refuse("lists a storage twice, or an unused one");
            }

            _source.Read(position, count, $"storage {storage.Key}");
            storage.Start = position + count.Length;
            if (BinaryPrimitives.ReadInt64LittleEndian(count) != storage.Count
                || storage.Bytes > _source.Length - storage.Start)
            {
                throw _source.Refuse($"storage {storage.Key}",
                    $"byte {position} does not begin a storage of {storage.Count} elements of "
                    + $"{storage.Type.Size()} bytes");
            }

            position = storage.Start + storage.Bytes;
        }

        if (_objects.Storages.Values.FirstOrDefault(storage => storage.Start < 0) is { } lost)
        {
            throw _source.Refuse($"storage {lost.Key}", "is not listed");
        }

        if (position != _source.Length)
        {
            throw _source.Refuse($"byte {position}", $"{_source.Length - position} bytes follow the last storage");
        }
    }

    private sealed record Extent(TorchTensor Tensor, byte[] Bytes);
}

// The table of contents of a data set in the MDS format (Mosaic Data Shard, version 2, of mosaicml/streaming):
// index.json in the data set's folder lists the shard files and their columns. All of it is checked here before a byte
// of a shard is read.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Model.Data.Mds;

/// <summary>A shard's file.</summary>
/// <param name="Basename">Path from the data set's folder, with slashes.</param>
/// <param name="Bytes">Its length in bytes.</param>
/// <param name="Hashes">Checksums in hexadecimal, by name.</param>
public sealed record MdsFile(string Basename, long Bytes, IReadOnlyDictionary<string, string> Hashes);

/// <summary>One entry of index.json, with the members in their order there.</summary>
/// <param name="ColumnEncodings">Name of each column's encoding.</param>
/// <param name="ColumnNames">Names of the columns, in the order of their bytes.</param>
/// <param name="ColumnSizes">Bytes of each column's values; null if they differ in size.</param>
/// <param name="Compression">"algorithm" or "algorithm:level"; null if uncompressed.</param>
/// <param name="Format">Always <c>mds</c>.</param>
/// <param name="Hashes">Names of the checksums that the writer was asked for.</param>
/// <param name="RawData">The shard without compression.</param>
/// <param name="Samples">Number of samples.</param>
/// <param name="SizeLimit">The writer's limit on the raw bytes; null if it had none.</param>
/// <param name="Version">Always 2.</param>
/// <param name="ZipData">The compressed file, if compressed.</param>
public sealed record MdsShard(
    IReadOnlyList<string> ColumnEncodings,
    IReadOnlyList<string> ColumnNames,
    IReadOnlyList<long?> ColumnSizes,
    string? Compression,
    string Format,
    IReadOnlyList<string> Hashes,
    MdsFile RawData,
    int Samples,
    long? SizeLimit,
    int Version,
    MdsFile? ZipData)
{
    /// <summary>The file on the disk.</summary>
    [JsonIgnore]
    public MdsFile Stored => ZipData ?? RawData;
}

/// <summary>A column of a data set.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Encoding">The encoding of its values.</param>
public sealed record MdsColumn(string Name, MdsEncoding Encoding);

/// <summary>The checked contents of a data set's index.json.</summary>
public sealed class MdsIndex
{
    /// <summary>Name of the index in a data set's folder.</summary>
    public const string FileName = "index.json";

    /// <summary>The format's only version.</summary>
    public const int Version = 2;

    /// <summary>Maximum size of an index file.</summary>
    public const long FileBytesMax = 256L << 20;

    /// <summary>Maximum number of shards of a data set.</summary>
    public const int ShardsMax = 1 << 20;

    /// <summary>Maximum number of samples of a shard, whose offsets take 64 MiB of memory while it is open.</summary>
    public const int ShardSamplesMax = 1 << 24;

    /// <summary>Maximum number of columns of a data set.</summary>
    public const int ColumnsMax = 256;

    /// <summary>Maximum size of a sample: 1 GiB.</summary>
    public const int SampleBytesMax = 1 << 30;

    private const int BasenameCharsMax = 1024;

    private MdsIndex(string directory, IReadOnlyList<MdsShard> shards)
    {
        Directory = directory;
        Shards = shards;
        if (shards.Count > ShardsMax || shards.Any(shard => shard is null))
        {
            throw Refused("shards", $"{shards.Count} entries; at most {ShardsMax} are allowed, and none may be null");
        }

        Columns = shards.Count == 0 ? [] : CheckColumns(shards[0]);
        for (int i = 0; i < shards.Count; i++)
        {
            CheckShard(shards[i], $"shards[{i}]");
            Samples += shards[i].Samples;
        }
    }

    /// <summary>The data set's folder.</summary>
    public string Directory { get; }

    /// <summary>The shards in the order of their samples.</summary>
    public IReadOnlyList<MdsShard> Shards { get; }

    /// <summary>
    /// The columns, in the order of their bytes, the same in every shard; empty if there are no shards.
    /// </summary>
    public IReadOnlyList<MdsColumn> Columns { get; }

    /// <summary>Samples over all shards.</summary>
    public long Samples { get; }

    private string IndexFile => Path.Combine(Directory, FileName);

    /// <summary>Reads and checks <paramref name="directory"/>/index.json.</summary>
    /// <exception cref="RefusedFileException">It is missing, damaged or of an unsupported kind.</exception>
    public static MdsIndex Read(string directory)
    {
        string file = Path.Combine(directory, FileName);
        var info = new FileInfo(file);
        if (!info.Exists || info.Length is < 1 or > FileBytesMax)
        {
            throw new RefusedFileException(
                file, "file",
                info.Exists ? $"it has {info.Length} bytes; 1 to {FileBytesMax} are allowed" : "it is missing");
        }

        try
        {
            using var stream = info.OpenRead();
            var contents = JsonSerializer.Deserialize(stream, MdsJson.Default.MdsContents)
                ?? throw new RefusedFileException(
                    file, "$", "it is null; it must be an object with version and shards");
            return contents.Version == Version
                ? new MdsIndex(directory, contents.Shards)
                : throw new RefusedFileException(
                    file, "version", $"{contents.Version} is not supported; it must be {Version}");
        }
        catch (JsonException e)
        {
            throw new RefusedFileException(file, e.Path ?? "$", e.Message, e);
        }
    }

    /// <summary>
    /// Writes the index of a data set whose parts are in subfolders of <paramref name="directory"/>, for example if
    /// several processes wrote it. It lists the shards of all parts, in the ordinal order of the folders' names.
    /// </summary>
    /// <exception cref="ArgumentException">No subfolder has an index.</exception>
    /// <exception cref="RefusedFileException">A part's index is refused, or the parts' columns differ.</exception>
    public static MdsIndex Merge(string directory)
    {
        var parts = System.IO.Directory.GetDirectories(directory)
            .Where(folder => File.Exists(Path.Combine(folder, FileName)))
            .Order(StringComparer.Ordinal)
            .ToList();
        if (parts.Count == 0)
        {
            throw new ArgumentException($"No subfolder of {directory} has an {FileName}.", nameof(directory));
        }

        var shards = parts.SelectMany(part => Read(part).Shards, (part, shard) => shard with
        {
            RawData = Moved(shard.RawData, part)!,
            ZipData = Moved(shard.ZipData, part),
        });
        return Write(directory, [.. shards]);

        static MdsFile? Moved(MdsFile? file, string part) =>
            file is null ? null : file with { Basename = $"{Path.GetFileName(part)}/{file.Basename}" };
    }

    /// <summary>
    /// Checks and writes an index through a temporary file, so that a reader sees either no index or a complete one.
    /// </summary>
    internal static MdsIndex Write(string directory, IReadOnlyList<MdsShard> shards)
    {
        var index = new MdsIndex(directory, shards);
        WholeFile.Write(index.IndexFile, file =>
        {
            file.Write(PythonJson.Write(JsonSerializer.SerializeToNode(
                new MdsContents(Version, shards), MdsJson.Default.MdsContents)));
            file.Flush(flushToDisk: true);
        });
        return index;
    }

    /// <summary>
    /// The JSON at the head of a shard file: the shard's entry without the members that are known only at its end.
    /// </summary>
    internal static byte[] Config(MdsShard shard)
    {
        var config = JsonSerializer.SerializeToNode(shard, MdsJson.Default.MdsShard)!.AsObject();
        config.Remove("raw_data");
        config.Remove("zip_data");
        config.Remove("samples");
        return PythonJson.Write(config);
    }

    /// <summary>
    /// The stored file of a shard, which must be a regular file of the listed length inside the folder. No part of its
    /// path below the folder may be a symbolic link, so that it cannot lead out of the folder.
    /// </summary>
    internal string Locate(MdsShard shard)
    {
        string path = Directory;
        foreach (string name in shard.Stored.Basename.Split('/'))
        {
            path = Path.Combine(path, name);
            if (new FileInfo(path).LinkTarget is not null)
            {
                throw new RefusedFileException(path, "file", "it is a symbolic link; a shard must be a regular file");
            }
        }

        var info = new FileInfo(path);
        if (!info.Exists)
        {
            throw new RefusedFileException(path, "file", $"it is missing, although {IndexFile} lists it");
        }

        return info.Length == shard.Stored.Bytes
            ? path
            : throw new RefusedFileException(
                path, "file", $"it has {info.Length} bytes, but {IndexFile} says {shard.Stored.Bytes}");
    }

    private RefusedFileException Refused(string place, string reason) => new(IndexFile, place, reason);

    private MdsColumn[] CheckColumns(MdsShard shard)
    {
        var (names, encodings, sizes) = (shard.ColumnNames, shard.ColumnEncodings, shard.ColumnSizes);
        if (names.Count is < 1 or > ColumnsMax || encodings.Count != names.Count || sizes.Count != names.Count)
        {
            throw Refused(
                "shards[0]",
                $"{names.Count} column names, {encodings.Count} encodings and {sizes.Count} sizes; there must be as "
                + $"many of each, 1 to {ColumnsMax}");
        }

        if (names.Any(string.IsNullOrEmpty) || names.Distinct().Count() != names.Count)
        {
            throw Refused("shards[0].column_names", "a name is empty or occurs twice");
        }

        var columns = new MdsColumn[names.Count];
        for (int i = 0; i < columns.Length; i++)
        {
            try
            {
                columns[i] = new MdsColumn(names[i], MdsEncoding.Parse(encodings[i] ?? "null"));
            }
            catch (FormatException e)
            {
                throw new RefusedFileException(IndexFile, $"column '{names[i]}'", e.Message, e);
            }

            if (columns[i].Encoding.SizeBytes != sizes[i])
            {
                throw Refused($"column '{names[i]}'", $"the size {sizes[i]?.ToString() ?? "null"} does not match "
                    + $"'{encodings[i]}', whose size is {columns[i].Encoding.SizeBytes?.ToString() ?? "null"}");
            }
        }

        return columns;
    }

    private void CheckShard(MdsShard shard, string place)
    {
        if (shard.Format != "mds" || shard.Version != Version)
        {
            throw Refused(
                place, $"format '{shard.Format}', version {shard.Version}; it must be mds, version {Version}");
        }

        if (!shard.ColumnNames.SequenceEqual(Shards[0].ColumnNames)
            || !shard.ColumnEncodings.SequenceEqual(Shards[0].ColumnEncodings)
            || !shard.ColumnSizes.SequenceEqual(Shards[0].ColumnSizes))
        {
            throw Refused(place, "its columns differ from the first shard's; one data set has one set of columns");
        }

        // A shard file begins with the count and one more offset than there are samples, each of 32 bits.
        if (shard.Samples is < 0 or > ShardSamplesMax || shard.RawData.Bytes is < 0 or > uint.MaxValue
            || shard.RawData.Bytes < 4 * (shard.Samples + 2L))
        {
            throw Refused(place, $"{shard.Samples} samples in {shard.RawData.Bytes} bytes; a shard has at most "
                + $"{ShardSamplesMax} samples and {uint.MaxValue} bytes, and at least 4 bytes per sample and 8 more");
        }

        if (shard.ZipData is null != shard.Compression is null
            || (shard.Compression is { } compression && !MdsCompression.CanRead(compression)))
        {
            throw Refused(place, $"compression '{shard.Compression ?? "null"}' "
                + $"{(shard.ZipData is null ? "without" : "with")} zip_data; zstd, gz, bz2, br and snappy are "
                + "supported, and need zip_data");
        }

        CheckFile(shard.RawData, $"{place}.raw_data");
        if (shard.ZipData is not null)
        {
            CheckFile(shard.ZipData, $"{place}.zip_data");
        }
    }

    private void CheckFile(MdsFile file, string place)
    {
        bool legal = file.Bytes >= 1 && file.Basename.Length <= BasenameCharsMax
            && !file.Basename.Contains('\\') && !file.Basename.Contains('\0')
            && file.Basename.Split('/').All(part => part is not ("" or "." or ".."));
        if (!legal)
        {
            throw Refused(
                place,
                $"basename '{file.Basename}' with {file.Bytes} bytes; it must be a relative path inside the folder, "
                + $"with slashes, of up to {BasenameCharsMax} characters, and a positive length");
        }

        if (file.Hashes.Values.Any(hash => hash is null))
        {
            throw Refused(place, "a checksum is null");
        }
    }
}

/// <summary>The contents of index.json.</summary>
internal sealed record MdsContents(int Version, IReadOnlyList<MdsShard> Shards);

/// <summary>The JSON form of the records above; missing members and unexpected nulls are refused.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true,
    MaxDepth = 16)]
[JsonSerializable(typeof(MdsContents))]
internal sealed partial class MdsJson : JsonSerializerContext;

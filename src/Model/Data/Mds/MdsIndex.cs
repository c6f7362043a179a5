// The table of contents of a data set in the MDS format (Mosaic Data Shard, version 2, of mosaicml/streaming):
// index.json in the data set's folder lists the shard files and their columns. All of it is checked here before a byte
// of a shard is read.
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Model.Data.Mds;

/// <summary>A shard's file.</summary>
/// <param name="Basename">Path relative to the data set's folder, with forward slashes.</param>
/// <param name="Bytes">Length of the file in bytes.</param>
/// <param name="Hashes">Checksums in hexadecimal, by name.</param>
public sealed record MdsFile(string Basename, long Bytes, IReadOnlyDictionary<string, string> Hashes);

/// <summary>One entry of index.json. The parameters are in the order of the members in that file.</summary>
/// <param name="ColumnEncodings">Name of each column's encoding.</param>
/// <param name="ColumnNames">Names of the columns, in the order in which a sample stores them.</param>
/// <param name="ColumnSizes">Size of each column's values in bytes; null if the values differ in size.</param>
/// <param name="Compression">"algorithm" or "algorithm:level"; null if uncompressed.</param>
/// <param name="Format">Always <c>mds</c>.</param>
/// <param name="Hashes">Names of the checksums that were requested from the writer.</param>
/// <param name="RawData">The shard's uncompressed contents.</param>
/// <param name="Samples">Number of samples.</param>
/// <param name="SizeLimit">The writer's limit on the raw bytes of a shard; null if there was no limit.</param>
/// <param name="Version">Always 2.</param>
/// <param name="ZipData">The compressed file; null if the shard is not compressed.</param>
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
/// <param name="Name">Name of the column.</param>
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

    /// <summary>Maximum number of shards in a data set.</summary>
    public const int ShardsMax = 1 << 20;

    /// <summary>
    /// Maximum number of samples in a shard. Their offsets take 64 MiB of memory while the shard is open.
    /// </summary>
    public const int ShardSamplesMax = 1 << 24;

    /// <summary>Maximum number of columns in a data set.</summary>
    public const int ColumnsMax = 256;

    /// <summary>Maximum size of a sample: 1 GiB.</summary>
    public const int SampleBytesMax = 1 << 30;

    private const int BasenameCharsMax = 1024;

    private MdsIndex(string directory, IReadOnlyList<MdsShard> shards, byte[] file)
    {
        Directory = directory;
        Digest = Convert.ToHexStringLower(SHA256.HashData(file));
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

    /// <summary>SHA-256 of index.json.</summary>
    public string Digest { get; }

    /// <summary>The shards in the order of their samples.</summary>
    public IReadOnlyList<MdsShard> Shards { get; }

    /// <summary>
    /// The columns, which are the same in every shard, in the order in which a sample stores them; empty if there are
    /// no shards.
    /// </summary>
    public IReadOnlyList<MdsColumn> Columns { get; }

    /// <summary>Number of samples in all shards.</summary>
    public long Samples { get; }

    private string IndexFile => Path.Combine(Directory, FileName);

    /// <summary>Reads and checks <paramref name="directory"/>/index.json.</summary>
    /// <exception cref="RefusedFileException">The index is missing, damaged or of an unsupported kind.</exception>
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
            byte[] bytes = File.ReadAllBytes(file);
            var contents = JsonSerializer.Deserialize(bytes, MdsJson.Default.MdsContents)
                ?? throw new RefusedFileException(
                    file, "$", "it is null; it must be an object with version and shards");
            return contents.Version == Version
                ? new MdsIndex(directory, contents.Shards, bytes)
                : throw new RefusedFileException(
                    file, "version", $"{contents.Version} is not supported; it must be {Version}");
        }
        catch (JsonException e)
        {
            throw new RefusedFileException(file, e.Path ?? "$", e.Message, e);
        }
    }

    /// <summary>
    /// Writes the index of a data set whose parts are in subfolders of <paramref name="directory"/>, for example
    /// because several processes wrote them. The index lists the shards of all parts, in the ordinal order of the
    /// folders' names.
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
        byte[] bytes = PythonJson.Write(JsonSerializer.SerializeToNode(
            new MdsContents(Version, shards), MdsJson.Default.MdsContents));
        var index = new MdsIndex(directory, shards, bytes);
        WholeFile.Write(index.IndexFile, file =>
        {
            file.Write(bytes);
            file.Flush(flushToDisk: true);
        });
        return index;
    }

    /// <summary>
    /// The JSON at the head of a shard file: the shard's index entry without the members that are not known until the
    /// shard is complete.
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
    /// path below the folder may be a symbolic link, so that the path cannot lead out of the folder.
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

    /// <summary>Whether a name is a relative path, with forward slashes, that does not lead out of a folder.</summary>
    internal static bool IsInside(string name) => name.Length <= BasenameCharsMax
        && !name.Contains('\\') && !name.Contains('\0')
        && name.Split('/').All(part => part is not ("" or "." or ".."));

    private RefusedFileException Refused(string place, string reason) => new(IndexFile, place, reason);

    private MdsColumn[] CheckColumns(MdsShard shard)
    {
        var (names, encodings, sizes) = (shard.ColumnNames, shard.ColumnEncodings, shard.ColumnSizes);
        if (names.Count is < 1 or > ColumnsMax || encodings.Count != names.Count || sizes.Count != names.Count)
        {
            throw Refused(
                "shards[0]",
                $"{names.Count} column names, {encodings.Count} encodings and {sizes.Count} sizes; the three "
                + $"numbers must be equal, from 1 to {ColumnsMax}");
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

        // A shard file begins with the sample count, followed by one more offset than there are samples. Each is 32
        // bits wide.
        if (shard.Samples is < 0 or > ShardSamplesMax || shard.RawData.Bytes is < 0 or > uint.MaxValue
            || shard.RawData.Bytes < 4 * (shard.Samples + 2L))
        {
            throw Refused(place, $"{shard.Samples} samples in {shard.RawData.Bytes} bytes; a shard has at most "
                + $"{ShardSamplesMax} samples and {uint.MaxValue} bytes, and needs 4 bytes per sample plus 8");
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
        if (file.Bytes < 1 || !IsInside(file.Basename))
        {
            throw Refused(
                place,
                $"basename '{file.Basename}' with {file.Bytes} bytes; the basename must be a relative path inside the "
                + $"folder, with forward slashes and at most {BasenameCharsMax} characters, and the length must be "
                + "positive");
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

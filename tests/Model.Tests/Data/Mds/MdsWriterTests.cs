// Goal: what is written here is what the reference would write, and is read back unchanged. Method: rewriting the
// reference's data sets and comparing bytes; random columns and samples.
using System.Numerics;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model.Data.Mds;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Data.Mds;

public sealed class MdsWriterTests
{
    private static readonly Dictionary<string, string> Caption = new() { ["caption"] = "str" };

    [Theory]
    [InlineData("one_sample")]
    [InlineData("fixed_only")]
    [InlineData("captioned_images_plain")]
    [InlineData("all_types")]
    [InlineData("merged/0")]
    [InlineData("merged/1")]
    [InlineData("merged/2")]
    [InlineData("latents/0")]
    [InlineData("latents/1")]
    public void SameSamples_GiveTheReferencesFiles_ByteForByte(string set)
    {
        using var reference = new MdsDataset(MdsVectors.Folder(set));
        using var copy = new TemporaryFolder();
        Rewrite(reference, copy.Path);
        Assert.Equal(FilesOf(MdsVectors.Folder(set)), FilesOf(copy.Path));
    }

    [Fact]
    public void SameValues_GiveTheReferencesFields_ByteForByte()
    {
        using var reference = new MdsDataset(MdsVectors.Folder("all_types"));
        using var copy = new TemporaryFolder();
        var writer = new MdsWriter(copy.Path, Columns(reference));
        for (int i = 0; i < reference.Count; i++)
        {
            var sample = reference[i];
            writer.Write(sample.Columns.ToDictionary(
                column => column.Name,
                column => column.Encoding.Name is "jpeg" or "png"
                    ? sample.Bytes(column.Name)
                    : sample.Value(column.Name)));
        }

        writer.Complete();
        using var written = new MdsDataset(copy.Path);
        for (int i = 0; i < reference.Count; i++)
        {
            foreach (var (name, encoding) in written.Index.Columns)
            {
                // Python writes 1e+300 and 0.0 where .NET writes 1E+300 and 0; both read both.
                if (encoding.Name == "str_float")
                {
                    Assert.Equal(reference[i].Get<double>(name), written[i].Get<double>(name));
                }
                else
                {
                    Assert.Equal(reference[i].Bytes(name).ToArray(), written[i].Bytes(name).ToArray());
                }
            }
        }
    }

    [Fact]
    public void MergedIndex_SaysWhatTheReferencesSays()
    {
        using var copy = MdsVectors.Copy("merged");
        File.Delete(copy["index.json"]);
        Assert.Equal(Count("merged"), MdsIndex.Merge(copy.Path).Samples);
        Assert.True(JsonNode.DeepEquals(
            JsonNode.Parse(File.ReadAllText(MdsVectors.Folder("merged/index.json"))),
            JsonNode.Parse(File.ReadAllText(copy["index.json"]))));

        // Merging again over a merged set changes nothing.
        MdsIndex.Merge(copy.Path);
        MdsDatasetTests.ReadAll(copy.Path);
    }

    [Fact]
    public void Merge_OfOtherColumns_OrOfNothing_IsRefused()
    {
        using var copy = MdsVectors.Copy("merged");
        using var empty = new TemporaryFolder();
        Assert.Throws<ArgumentException>(() => MdsIndex.Merge(empty.Path));
        var writer = new MdsWriter(copy["3"], Caption);
        writer.Write(new Dictionary<string, object> { ["caption"] = "alone" });
        writer.Complete();
        var refusal = Assert.Throws<RefusedFileException>(() => MdsIndex.Merge(copy.Path));
        Assert.Contains("columns", refusal.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("zstd", "zstd")]
    [InlineData("zstd:19", "zstd")]
    [InlineData("gz", "gz")]
    [InlineData("gz:9", "gz")]
    public void CompressedSet_ComesBack(string compression, string extension)
    {
        using var reference = new MdsDataset(MdsVectors.Folder("captioned_images_plain"));
        using var copy = new TemporaryFolder();
        Rewrite(reference, copy.Path, compression, ["xxh64", "sha256", "md5", "xxh3_64", "xxh128", "xxh32", "sha512"]);
        Assert.Contains(copy[$"shard.00000.mds.{extension}"], Directory.GetFiles(copy.Path));
        using var written = new MdsDataset(copy.Path);
        Assert.Equal(reference.Count, written.Count);
        for (int i = 0; i < reference.Count; i++)
        {
            Assert.All(reference[i].Columns, column => Assert.Equal(
                reference[i].Bytes(column.Name).ToArray(), written[i].Bytes(column.Name).ToArray()));
        }
    }

    [Fact]
    public void Checksums_AreThePublishedOnes_OfAbc()
    {
        using var hashes = new MdsHashes(["md5", "sha1", "sha256", "xxh32", "xxh64", "xxh3_64", "xxh128"]);
        hashes.Append("a"u8);
        hashes.Append("bc"u8);
        var found = hashes.Finish();
        Assert.Equal("900150983cd24fb0d6963f7d28e17f72", found["md5"]);
        Assert.Equal("a9993e364706816aba3e25717850c26c9cd0d89d", found["sha1"]);
        Assert.Equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", found["sha256"]);
        Assert.Equal("32d153ff", found["xxh32"]);
        Assert.Equal("44bc2cf5ad770999", found["xxh64"]);
        Assert.Equal("78af5f94892f3950", found["xxh3_64"]);
        Assert.Equal("06b05ab6733a618578af5f94892f3950", found["xxh128"]);
    }

    [Fact]
    public void AnySamples_ComeBack_InShardsWithinTheLimit()
    {
        var sample = Gen.Select(
            Gen.String, Gen.Byte.Array[0, 300], Gen.Long, Gen.Double, Gen.Select(Gen.Int[0, 4], Gen.Int[0, 300]));
        var compressions = Gen.Int[0, 2].Select(i => new[] { null, "zstd", "gz" }[i]);
        Gen.Select(sample.Array[0, 40], Gen.Int[1, 2000], compressions).Sample(
            (samples, limit, compression) =>
            {
                using var folder = new TemporaryFolder();
                var writer = new MdsWriter(
                    folder.Path,
                    new Dictionary<string, string>
                    {
                        ["text"] = "json",
                        ["data"] = "bytes",
                        ["id"] = "int",
                        ["x"] = "float64",
                        ["array"] = "ndarray",
                        ["big"] = "str_int",
                        ["float"] = "str_float",
                    },
                    new MdsWriteOptions { SizeLimit = limit, Compression = compression, Hashes = ["xxh64"] });
                var rows = samples.Select(s => new Dictionary<string, object>
                {
                    ["text"] = JsonSerializer.SerializeToElement(s.Item1),
                    ["data"] = s.Item2,
                    ["id"] = s.Item3,
                    ["x"] = s.Item4,
                    ["array"] = new MdsArray(
                        "uint8", [s.Item5.Item1, s.Item5.Item2], new byte[s.Item5.Item1 * s.Item5.Item2]),
                    ["big"] = new BigInteger(s.Item3) * s.Item3,
                    ["float"] = s.Item4,
                }).ToList();
                rows.ForEach(writer.Write);
                var index = writer.Complete();
                Assert.All(index.Shards, shard => Assert.True(shard.Samples == 1 || shard.RawData.Bytes <= limit));

                using var dataset = new MdsDataset(folder.Path, new MdsReadOptions { OpenShardsMax = 2 });
                Assert.Equal(rows.Count, dataset.Count);
                for (int i = rows.Count - 1; i >= 0; i--)
                {
                    AssertEqual(rows[i], dataset[i]);
                }
            },
            iter: 60, threads: 1);
    }

    [Fact]
    public void EveryEncoding_ComesBack_AtItsEnds()
    {
        var values = new (string Encoding, object Value)[]
        {
            ("int", long.MinValue), ("int8", sbyte.MinValue), ("int16", short.MinValue), ("int32", int.MinValue),
            ("int64", long.MaxValue), ("uint8", byte.MaxValue), ("uint16", ushort.MaxValue), ("uint32", uint.MaxValue),
            ("uint64", ulong.MaxValue), ("float16", Half.Epsilon), ("float32", float.NegativeInfinity),
            ("float64", double.NaN), ("str", "a\0b \u4e00 \U0001F98A"), ("str_int", -BigInteger.Pow(10, 30)),
            ("str_float", double.NegativeInfinity), ("str_decimal", "-12.5000"),
            ("ndarray", new MdsArray("int64", [2], new byte[16])),
            ("ndarray", new MdsArray("float16", [], new byte[2])),
            ("ndarray", new MdsArray("uint8", [0, 70_000], Array.Empty<byte>())),
            ("ndarray:float64", new MdsArray("float64", [1, 300], new byte[2400])),
            ("ndarray:uint16:3,2", new MdsArray("uint16", [3, 2], new byte[12])),
        };
        using var folder = new TemporaryFolder();
        var columns = values.Index().ToDictionary(v => $"c{v.Index}", v => v.Item.Encoding);
        var sample = values.Index().ToDictionary(v => $"c{v.Index}", v => v.Item.Value);
        var writer = new MdsWriter(folder.Path, columns);
        writer.Write(sample);
        writer.Complete();
        using var dataset = new MdsDataset(folder.Path);
        AssertEqual(sample, dataset[0]);
    }

    [Fact]
    public void IncompleteFolder_IsNotADataSet_AndCanBeWrittenAgain()
    {
        using var folder = new TemporaryFolder();
        var options = new MdsWriteOptions { SizeLimit = 1 };
        var interrupted = new MdsWriter(folder.Path, Caption, options);
        interrupted.Write(new Dictionary<string, object> { ["caption"] = "one" });
        interrupted.Write(new Dictionary<string, object> { ["caption"] = "two" });
        Assert.Throws<RefusedFileException>(() => new MdsDataset(folder.Path));

        var writer = new MdsWriter(folder.Path, Caption, options);
        writer.Write(new Dictionary<string, object> { ["caption"] = "three" });
        writer.Complete();
        using var dataset = new MdsDataset(folder.Path);
        Assert.Equal("three", dataset[0].Get<string>("caption"));
        Assert.Empty(Directory.GetFiles(folder.Path, "*.part"));
        Assert.Throws<ArgumentException>(() => new MdsWriter(folder.Path, Caption));
        Assert.Throws<InvalidOperationException>(
            () => writer.Write(new Dictionary<string, object> { ["caption"] = "x" }));
        Assert.Throws<InvalidOperationException>(writer.Complete);
    }

    [Fact]
    public void EmptySet_HasNoSamples()
    {
        using var folder = new TemporaryFolder();
        new MdsWriter(folder.Path, Caption).Complete();
        using var dataset = new MdsDataset(folder.Path);
        Assert.Equal(0, dataset.Count);
        Assert.Throws<ArgumentOutOfRangeException>(() => dataset[0]);
    }

    [Fact]
    public void WrongColumnsAndOptions_AreRefused()
    {
        using var folder = new TemporaryFolder();
        MdsWriter New(string name, string encoding, MdsWriteOptions? options = null) =>
            new(folder.Path, new Dictionary<string, string> { [name] = encoding }, options);
        Assert.Throws<ArgumentException>(() => New("a", "pkl"));
        Assert.Throws<ArgumentException>(() => New("a", "ndarray:float8"));
        Assert.Throws<ArgumentException>(() => New("\u00e9", "str"));
        Assert.Throws<ArgumentException>(() => new MdsWriter(folder.Path, new Dictionary<string, string>()));
        Assert.Throws<ArgumentException>(() => New("a", "str", new MdsWriteOptions { Compression = "bz2" }));
        Assert.Throws<ArgumentException>(() => New("a", "str", new MdsWriteOptions { Compression = "zstd:x" }));
        Assert.Throws<ArgumentException>(() => New("a", "str", new MdsWriteOptions { Hashes = ["crc"] }));
        Assert.Throws<ArgumentOutOfRangeException>(() => New("a", "str", new MdsWriteOptions { SizeLimit = 1L << 32 }));
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    public static TheoryData<string, object?> Misfits => new()
    {
        { "int", 1 },
        { "int", null },
        { "str", "\ud800" },
        { "str", new byte[] { 0xFF } },
        { "int32", new byte[] { 1 } },
        { "jpeg", "picture" },
        { "jpeg", new byte[] { 1, 2, 3 } },
        { "str_decimal", "twelve" },
        { "json", Encoding.UTF8.GetBytes("{") },
        { "ndarray:float32", new MdsArray("float16", [1], new byte[2]) },
        { "ndarray:float32:2", new MdsArray("float32", [1], new byte[4]) },
        { "ndarray", new MdsArray("float32", [3], new byte[8]) },
        { "ndarray", new MdsArray("complex", [1], new byte[8]) },
    };

    [Theory]
    [MemberData(nameof(Misfits))]
    public void ValueThatDoesNotFit_IsRefused_AndNothingIsAdded(string encoding, object? value)
    {
        using var folder = new TemporaryFolder();
        var writer = new MdsWriter(folder.Path, new Dictionary<string, string> { ["a"] = encoding });
        Assert.Throws<ArgumentException>(() => writer.Write(new Dictionary<string, object> { ["a"] = value! }));
        Assert.Throws<ArgumentException>(() => writer.Write(new Dictionary<string, object> { ["b"] = 1L }));
        Assert.Equal(0, writer.Complete().Samples);
    }

    private static long Count(string set) => MdsVectors.Expected(set).GetProperty("num_samples").GetInt64();

    private static Dictionary<string, string> Columns(MdsDataset dataset) =>
        dataset.Index.Columns.ToDictionary(column => column.Name, column => column.Encoding.Name);

    private static void Rewrite(
        MdsDataset source, string directory, string? compression = null, IReadOnlyList<string>? hashes = null)
    {
        var like = source.Index.Shards[0];
        var writer = new MdsWriter(directory, Columns(source), new MdsWriteOptions
        {
            SizeLimit = like.SizeLimit!.Value,
            Compression = compression,
            Hashes = hashes ?? like.Hashes,
        });
        for (long i = 0; i < source.Count; i++)
        {
            var sample = source[i];
            writer.Write(sample.Columns.ToDictionary(c => c.Name, c => (object)sample.Bytes(c.Name)));
        }

        writer.Complete();
    }

    private static Dictionary<string, string> FilesOf(string directory) => Directory.GetFiles(directory)
        .ToDictionary(file => Path.GetFileName(file), file => Convert.ToHexString(File.ReadAllBytes(file)));

    private static void AssertEqual(Dictionary<string, object> expected, MdsSample actual)
    {
        foreach (var (column, value) in expected)
        {
            object found = actual.Value(column);
            switch (value)
            {
                case byte[] bytes:
                    Assert.Equal(bytes, ((ReadOnlyMemory<byte>)found).ToArray());
                    break;
                case MdsArray array:
                    var other = Assert.IsType<MdsArray>(found);
                    Assert.Equal(array.Type, other.Type);
                    Assert.Equal(array.Shape, other.Shape);
                    Assert.Equal(array.Data.ToArray(), other.Data.ToArray());
                    break;
                case JsonElement json:
                    Assert.True(JsonElement.DeepEquals(json, (JsonElement)found));
                    break;
                default:
                    Assert.Equal(value, found);
                    break;
            }
        }
    }
}

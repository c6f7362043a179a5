// Goal: everything that the reference's writer wrote is read back exactly, and damaged data are rejected by name.
// Method: the reference's own data sets and expected values, and copies of them with one change.
using System.Globalization;
using System.Numerics;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model.Data.Mds;
using Atelier.Model.Imaging;
using Xunit;

namespace Atelier.Model.Tests.Data.Mds;

public sealed class MdsDatasetTests
{
    private static readonly MdsReadOptions Trusting = new() { VerifyHashes = false };

    public static TheoryData<string> Sets =>
    [
        "all_types", "captioned_images_plain", "compressed_br", "compressed_bz2", "compressed_gz", "compressed_zstd",
        "empty_first_shard", "fixed_only", "merged", "one_sample",
    ];

    public static TheoryData<string> Damaged =>
    [
        .. MdsVectors.Expected("damaged").GetProperty("rows").EnumerateArray()
            .Select(row => row.GetProperty("directory").GetString()!),
    ];

    [Theory]
    [MemberData(nameof(Sets))]
    public void EveryValue_EqualsTheReference(string set)
    {
        var expected = MdsVectors.Expected(set);
        using var dataset = new MdsDataset(MdsVectors.Folder(set));
        Assert.Equal(expected.GetProperty("num_samples").GetInt64(), dataset.Count);
        Assert.Equal(expected.GetProperty("num_shards").GetInt32(), dataset.Index.Shards.Count);
        Assert.Equal(
            expected.GetProperty("columns").EnumerateObject().ToDictionary(c => c.Name, c => c.Value.GetString()),
            dataset.Index.Columns.ToDictionary(c => c.Name, c => (string?)c.Encoding.Name));

        long index = 0;
        foreach (var sample in expected.GetProperty("samples").EnumerateArray())
        {
            var actual = dataset[index++];
            foreach (var field in sample.EnumerateObject())
            {
                AssertEqual(field.Value, actual.Value(field.Name), $"{set} {index - 1} {field.Name}");
            }
        }

        Assert.Equal(dataset.Count, index);
    }

    [Fact]
    public void Latents_AreTheReferencesBytes()
    {
        var expected = MdsVectors.Expected("latents");
        using var dataset = new MdsDataset(MdsVectors.Folder("latents"));
        Assert.Equal(24, dataset.Count);
        for (int i = 0; i < dataset.Count; i++)
        {
            var sample = dataset[i];
            Assert.Equal(expected.GetProperty("captions")[i].GetString(), sample.Get<string>("caption"));
            foreach (var hash in expected.GetProperty("sha256_per_sample")[i].EnumerateObject())
            {
                Assert.Equal(hash.Value.GetString(), Sha256(sample.Bytes(hash.Name).Span));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Damaged))]
    public void Damage_IsRefusedByName(string set)
    {
        var refusal = Assert.Throws<RefusedFileException>(() => ReadAll(MdsVectors.Folder(set)));
        Assert.StartsWith(MdsVectors.Folder(set), refusal.File, StringComparison.Ordinal);
        Assert.Contains(refusal.File, refusal.Message, StringComparison.Ordinal);
        Assert.True(refusal.File.EndsWith("index.json", StringComparison.Ordinal)
            || refusal.File.EndsWith("shard.00000.mds", StringComparison.Ordinal), refusal.File);
    }

    [Fact]
    public void AlteredShard_IsGiven_WhenVerificationIsOff()
    {
        using var dataset = new MdsDataset(MdsVectors.Folder("damaged/hash_differs"), Trusting);
        Assert.Equal(5, Enumerable.Range(0, 5).Count(i => dataset[i].Bytes("id").Length == 8));
    }

    [Fact]
    public void AlteredCompressedShard_IsRefusedByEitherChecksum()
    {
        foreach (string file in new[] { "zip_data", "raw_data" })
        {
            using var copy = MdsVectors.Copy("compressed_gz");
            var index = JsonNode.Parse(File.ReadAllText(copy["index.json"]))!;
            index["shards"]![1]![file]!["hashes"]!["xxh64"] = new string('0', 16);
            File.WriteAllText(copy["index.json"], index.ToJsonString());

            AssertRefused("xxh64", copy.Path);
            ReadAll(copy.Path, Trusting);
        }
    }

    [Theory]
    [InlineData("blake2b")]
    [InlineData("crc32")]
    public void UnknownChecksum_IsRefused_UnlessVerificationIsOff(string name)
    {
        using var copy = MdsVectors.Copy("merged");
        File.WriteAllText(copy["index.json"],
            File.ReadAllText(copy["index.json"]).Replace("\"sha1\":", $"\"{name}\":", StringComparison.Ordinal));
        AssertRefused(name, copy.Path);
        ReadAll(copy.Path, Trusting);
    }

    [Theory]
    [InlineData("../shard.00000.mds")]
    [InlineData("/etc/hostname")]
    [InlineData("a//b")]
    [InlineData("./shard.00000.mds")]
    [InlineData("a/../shard.00000.mds")]
    [InlineData("..\\\\shard.00000.mds")]
    [InlineData("")]
    [InlineData("shard\\u0000")]
    public void PathThatIsNotPlainlyInside_IsRefused(string basename)
    {
        using var copy = MdsVectors.Copy("one_sample");
        File.WriteAllText(copy["index.json"],
            File.ReadAllText(copy["index.json"]).Replace("shard.00000.mds", basename, StringComparison.Ordinal));
        AssertRefused("basename", copy.Path);
    }

    [Fact]
    public void SymbolicLink_IsRefused_AsFileAndAsFolder()
    {
        using var outside = MdsVectors.Copy("merged");
        using var copy = MdsVectors.Copy("merged");
        File.Delete(copy["1/shard.00000.mds"]);
        File.CreateSymbolicLink(copy["1/shard.00000.mds"], outside["1/shard.00000.mds"]);
        AssertRefused("symbolic", copy.Path);

        Directory.Delete(copy["1"], recursive: true);
        Directory.CreateSymbolicLink(copy["1"], outside["1"]);
        AssertRefused("symbolic", copy.Path);
    }

    [Theory]
    [InlineData("compressed_zstd")]
    [InlineData("compressed_gz")]
    [InlineData("compressed_bz2")]
    [InlineData("compressed_br")]
    public void CompressedShard_ThatHoldsMoreThanTheIndexSays_IsRefused(string set)
    {
        // The same for fewer. The raw size of the first shard comes first in the index.
        foreach (int change in new[] { -1, 1 })
        {
            using var copy = MdsVectors.Copy(set);
            var index = JsonNode.Parse(File.ReadAllText(copy["index.json"]))!;
            var raw = index["shards"]![0]!["raw_data"]!;
            raw["bytes"] = raw["bytes"]!.GetValue<int>() + change;
            File.WriteAllText(copy["index.json"], index.ToJsonString());
            var refusal = Assert.Throws<RefusedFileException>(() => ReadAll(copy.Path, Trusting));
            Assert.Contains(change < 0 ? "more" : "fewer", refusal.Reason, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ExpandedShards_LeaveNoFile_AndStayWithinTheScratchBound()
    {
        using var scratch = new TemporaryFolder();
        var options = new MdsReadOptions { ScratchDirectory = scratch.Path, ScratchBytesMax = 4000 };
        using var dataset = new MdsDataset(MdsVectors.Folder("compressed_zstd"), options);
        using var whole = new MdsDataset(MdsVectors.Folder("compressed_zstd"));
        for (int i = 0; i < 3 * dataset.Count; i++)
        {
            long index = i * 7 % dataset.Count;
            Assert.Equal(whole[index].Get<string>("caption"), dataset[index].Get<string>("caption"));
            Assert.Empty(Directory.GetFiles(scratch.Path));
        }

        var refusal = Assert.Throws<RefusedFileException>(
            () => new MdsDataset(MdsVectors.Folder("compressed_zstd"), options with { ScratchBytesMax = 3000 }));
        Assert.Contains("3000", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("merged")]
    [InlineData("compressed_zstd")]
    public void ManyThreads_ReadWhatOneReads_WithOneOpenShard(string set)
    {
        using var alone = new MdsDataset(MdsVectors.Folder(set));
        var captions = Enumerable.Range(0, (int)alone.Count).Select(i => alone[i].Get<string>("caption")).ToList();
        using var shared = new MdsDataset(MdsVectors.Folder(set), new MdsReadOptions { OpenShardsMax = 1 });
        Parallel.For(0, 600, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            int index = i * 13 % captions.Count;
            Assert.Equal(captions[index], shared[index].Get<string>("caption"));
        });
    }

    [Fact]
    public void ColumnsNotAskedFor_StayOnTheDisk()
    {
        using var folder = new TemporaryFolder();
        var writer = new MdsWriter(folder.Path, new Dictionary<string, string>
        {
            ["a"] = "str",
            ["b"] = "bytes",
            ["c"] = "int32",
            ["d"] = "bytes",
        });
        var large = new byte[8 << 20];
        writer.Write(new Dictionary<string, object> { ["a"] = "first", ["b"] = large, ["c"] = 7, ["d"] = large });
        writer.Complete();

        using var dataset = new MdsDataset(folder.Path);
        dataset.Read(0, "a");  // opens the shard
        long before = GC.GetAllocatedBytesForCurrentThread();
        var sample = dataset.Read(0, "c", "a");
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 16 << 10);
        Assert.Equal("first", sample.Get<string>("a"));
        Assert.Equal(7, sample.Get<int>("c"));
        Assert.Equal(["a", "c"], sample.Columns.Select(column => column.Name));
        Assert.Throws<ArgumentException>(() => sample.Bytes("b"));
        Assert.Equal(large.Length, dataset.Read(0, "d").Bytes("d").Length);
    }

    [Fact]
    public void WrongUse_IsAnArgumentException()
    {
        using var dataset = new MdsDataset(MdsVectors.Folder("fixed_only"));
        Assert.Throws<ArgumentOutOfRangeException>(() => dataset[-1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => dataset[7]);
        Assert.Throws<ArgumentException>(() => dataset.Read(0, "c"));
        Assert.Throws<ArgumentException>(() => dataset[0].Value("c"));
        var wrongType = Assert.Throws<ArgumentException>(() => dataset[0].Get<long>("a"));
        Assert.Contains("Int32", wrongType.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"version\": 2, \"zip", "\"version\": 3, \"zip")]
    [InlineData("\"version\": 2}", "\"version\": 1}")]
    [InlineData("\"format\": \"mds\"", "\"format\": \"csv\"")]
    [InlineData("[null]", "[4]")]
    [InlineData("[null]", "[]")]
    [InlineData("[\"str\"]", "[\"list[str]\"]")]
    [InlineData("[\"str\"]", "[\"pil\"]")]
    [InlineData("[\"str\"]", "[null]")]
    [InlineData("[\"str\"]", "[\"ndarray:float32:0\"]")]
    [InlineData("[\"str\"]", "[\"ndarray:float32:65536,65536\"]")]
    [InlineData("[\"caption\"]", "[\"\"]")]
    [InlineData("\"samples\": 1", "\"samples\": -1")]
    [InlineData("\"samples\": 1", "\"samples\": 2147483647")]
    [InlineData("\"samples\": 1", "\"samples\": 99999999999")]
    [InlineData("\"bytes\": 193", "\"bytes\": 4294967296")]
    [InlineData("\"bytes\": 193", "\"bytes\": null")]
    [InlineData("\"compression\": null", "\"compression\": \"zstd\"")]
    [InlineData("\"zip_data\": null", "\"zip_data\": {\"basename\": \"a\", \"bytes\": 193, \"hashes\": {}}")]
    [InlineData("\"raw_data\": {", "\"raw_data\": null, \"other\": {")]
    [InlineData("{\"shards\": [", "{\"shards\": [null, ")]
    [InlineData("{\"shards\": [", "[{\"shards\": [")]
    public void IndexThatContradictsItself_IsRefused(string from, string to)
    {
        using var copy = MdsVectors.Copy("one_sample");
        string index = File.ReadAllText(copy["index.json"]);
        Assert.Contains(from, index, StringComparison.Ordinal);
        File.WriteAllText(copy["index.json"], index.Replace(from, to, StringComparison.Ordinal));
        var refusal = Assert.Throws<RefusedFileException>(() => ReadAll(copy.Path));
        Assert.Equal(copy["index.json"], refusal.File);
    }

    private static void AssertRefused(string reason, string directory)
    {
        var refusal = Assert.Throws<RefusedFileException>(() => ReadAll(directory));
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    internal static void ReadAll(string directory, MdsReadOptions? options = null)
    {
        using var dataset = new MdsDataset(directory, options);
        for (long i = 0; i < dataset.Count; i++)
        {
            var sample = dataset[i];
            foreach (var column in sample.Columns)
            {
                sample.Value(column.Name);
            }
        }
    }

    private static void AssertEqual(JsonElement expected, object actual, string place)
    {
        foreach (var property in expected.EnumerateObject())
        {
            switch (property.Name)
            {
                case "text":
                    Assert.Equal(property.Value.GetString(), actual is JsonElement json ? json.GetString() : actual);
                    break;
                case "integer":
                    Assert.Equal(property.Value.GetString(), Convert.ToString(actual, CultureInfo.InvariantCulture));
                    break;
                case "hex":
                    double value = actual is Half half ? (double)half : actual is BigInteger ? double.NaN
                        : Convert.ToDouble(actual, CultureInfo.InvariantCulture);
                    Assert.Equal(ParseHex(property.Value.GetString()!), BitConverter.DoubleToInt64Bits(value));
                    break;
                case "json":
                    Assert.True(JsonElement.DeepEquals(property.Value, (JsonElement)actual), place);
                    break;
                case "dtype":
                    Assert.Equal(property.Value.GetString(), ((MdsArray)actual).Type);
                    break;
                case "shape":
                    Assert.Equal(property.Value.Deserialize<long[]>(), ((MdsArray)actual).Shape);
                    break;
                case "base64":
                    var bytes = actual is MdsArray array ? array.Data : (ReadOnlyMemory<byte>)actual;
                    Assert.Equal(property.Value.GetString(), Convert.ToBase64String(bytes.Span));
                    break;
                case "image_rgb_shape_hwc":
                    AssertEqualImage(expected, (RgbImage)actual, place);
                    break;
                default:
                    Assert.Contains(property.Name, new[] { "number", "rgb_sha256", "mean_rgb" });
                    break;
            }
        }
    }

    private static void AssertEqualImage(JsonElement expected, RgbImage image, string place)
    {
        int[] shape = [image.Height, image.Width, 3];
        Assert.Equal(expected.GetProperty("image_rgb_shape_hwc").Deserialize<int[]>(), shape);
        if (place.EndsWith("png", StringComparison.Ordinal))
        {
            Assert.Equal(expected.GetProperty("rgb_sha256").GetString(), Sha256(image.Pixels));
        }

        for (int channel = 0; channel < 3; channel++)
        {
            double mean = image.Pixels.Where((_, i) => i % 3 == channel).Average(v => (double)v);
            Assert.Equal(expected.GetProperty("mean_rgb")[channel].GetDouble(), mean, 1.0);
        }
    }

    private static string Sha256(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    // Bits of a double in C99's notation, such as -0x1.8p-3.
    private static long ParseHex(string text)
    {
        bool negative = text.StartsWith('-');
        var parts = text.TrimStart('-')[2..].Split('.', 'p');
        double value = long.Parse(parts[0] + parts[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        value = Math.ScaleB(value, int.Parse(parts[2], CultureInfo.InvariantCulture) - (4 * parts[1].Length));
        return BitConverter.DoubleToInt64Bits(negative ? -value : value);
    }
}

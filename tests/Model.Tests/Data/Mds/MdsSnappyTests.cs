// Goal: shards in snappy are read as the reference's writer makes them, and invalid blocks are rejected before memory
// is reserved for their claimed size. Method: the reference's data sets, compressed; hand-made blocks.
using System.Text.Json.Nodes;
using Atelier.Model.Data.Mds;
using Xunit;

namespace Atelier.Model.Tests.Data.Mds;

public sealed class MdsSnappyTests
{
    private const string Set = "all_types", First = "shard.00000.mds.snappy";

    private static readonly MdsReadOptions s_trusting = new() { VerifyHashes = false };

    [Theory]
    [InlineData("all_types")]
    [InlineData("captioned_images_plain")]
    [InlineData("one_sample")]
    public void EveryField_IsThatOfTheUncompressedShard(string set)
    {
        using var copy = MdsVectors.Snappy(set);
        using var packed = new MdsDataset(copy.Path);
        using var plain = new MdsDataset(MdsVectors.Folder(set));
        Assert.Equal(plain.Count, packed.Count);
        for (long i = 0; i < plain.Count; i++)
        {
            Assert.All(
                plain.Index.Columns, column => Assert.True(
                    plain[i].Bytes(column.Name).Span.SequenceEqual(packed[i].Bytes(column.Name).Span), column.Name));
        }
    }

    // By the format's description: a length, literals, and copies with offsets of one, two and four bytes.
    [Fact]
    public void BlockByHand_IsReadAsTheFormatSays()
    {
        byte[] block =
        [
            26, (4 - 1) << 2, (byte)'a', (byte)'b', (byte)'c', (byte)'d', ((4 - 4) << 2) | 1, 4,
            ((5 - 1) << 2) | 2, 8, 0, ((12 - 1) << 2) | 3, 1, 0, 0, 0, 0, (byte)'!',
        ];
        Assert.Equal("abcdabcdabcda" + new string('a', 12) + "!", Expand(block, 26));
    }

    [Theory]
    [InlineData(new byte[] { }, 4, "byte 0", "not a 32-bit length")]
    [InlineData(new byte[] { 0x84 }, 4, "byte 0", "not a 32-bit length")]
    [InlineData(new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1 }, 4, "byte 0", "not a 32-bit length")]
    [InlineData(new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 0x1F }, 4, "byte 0", "not a 32-bit length")]
    [InlineData(new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0, 1 }, 4, "byte 0", "4294967295 raw bytes, more than")]
    [InlineData(new byte[] { 3, 8, 1, 2, 3 }, 4, "byte 0", "3 raw bytes, fewer than the 4")]
    [InlineData(new byte[] { 0x80, 0x80, 0x80, 0x80, 4, 0, 1 }, 1 << 30, "byte 0", "but the 2 bytes that follow")]
    [InlineData(new byte[] { 4, 12, 1, 2, 3 }, 4, "contents", "is not an intact snappy file")]
    [InlineData(new byte[] { 4, 0, 1, 10, 9, 0 }, 4, "contents", "is not an intact snappy file")]
    [InlineData(new byte[] { 4, 0, 1, 10, 0, 0 }, 4, "contents", "is not an intact snappy file")]
    [InlineData(new byte[] { 4, 12, 1, 2, 3, 4 }, (1L << 30) + 1, "contents", "at most 1073741824 of either")]
    public void BlockThatIsNotIntact_IsRefused_BeforeMemoryIsReserved(
        byte[] block, long rawBytes, string place, string says)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        var refusal = Assert.Throws<RefusedFileException>(() => Expand(block, rawBytes));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        Assert.Equal(("block", place), (refusal.File, refusal.Place));
        Assert.Contains(says, refusal.Reason);
    }

    [Fact]
    public void CutShard_IsRefusedByName_WhereverItIsCut()
    {
        using var copy = MdsVectors.Snappy(Set);
        byte[] whole = File.ReadAllBytes(copy[First]);
        foreach (int length in Enumerable.Range(0, 40).Select(i => i * whole.Length / 40).Where(length => length > 0))
        {
            JsonNode index = JsonNode.Parse(File.ReadAllText(copy["index.json"]))!;
            MdsVectors.WriteSnappy(copy, index["shards"]![0]!, whole[..length]);
            File.WriteAllText(copy["index.json"], index.ToJsonString());
            using var dataset = new MdsDataset(copy.Path, s_trusting);
            var refusal = Assert.Throws<RefusedFileException>(() => dataset[0]);
            Assert.Equal(copy[First], refusal.File);
        }
    }

    [Theory]
    [InlineData(-1, "more")]
    [InlineData(1, "fewer")]
    public void Shard_ThatHoldsAnotherNumberOfBytesThanTheIndexSays_IsRefused(int change, string says)
    {
        using var copy = MdsVectors.Snappy(Set);
        JsonNode index = JsonNode.Parse(File.ReadAllText(copy["index.json"]))!;
        JsonNode raw = index["shards"]![0]!["raw_data"]!;
        raw["bytes"] = raw["bytes"]!.GetValue<int>() + change;
        File.WriteAllText(copy["index.json"], index.ToJsonString());
        using var dataset = new MdsDataset(copy.Path, s_trusting);
        Assert.Contains(says, Assert.Throws<RefusedFileException>(() => dataset[0]).Reason);
    }

    [Fact]
    public void AlteredShard_IsRefusedByTheRawDatasChecksum()
    {
        using var copy = MdsVectors.Snappy(Set);
        JsonNode index = JsonNode.Parse(File.ReadAllText(copy["index.json"]))!;
        index["shards"]![0]!["raw_data"]!["hashes"] = new JsonObject { ["xxh64"] = new string('0', 16) };
        File.WriteAllText(copy["index.json"], index.ToJsonString());
        using var dataset = new MdsDataset(copy.Path);
        Assert.Contains("xxh64", Assert.Throws<RefusedFileException>(() => dataset[0]).Place);
    }

    private static string Expand(byte[] block, long rawBytes)
    {
        using var input = new MemoryStream(block);
        var text = new List<byte>();
        MdsCompression.Expand("block", input, "snappy", rawBytes, bytes => text.AddRange(bytes));
        return System.Text.Encoding.ASCII.GetString([.. text]);
    }
}

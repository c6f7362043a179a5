// Goal: the reader reads what the writer writes; a partial file never has the final name; invalid headers are rejected
// with place and reason, and cost no memory.
using Atelier.Model.Weights;
using Xunit;

namespace Atelier.Model.Tests.Weights;

public sealed class SafeTensorsTests
{
    [Fact]
    public void File_RoundTrips_WithMetadataAndEveryType()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(1);
        var tensors = Enum.GetValues<ElementType>()
            .Select(type => new TensorInfo($"имя \"{type}\"\n", type, [3, 17])).ToList();
        tensors.Add(new TensorInfo("", ElementType.Float32, []));
        tensors.Add(new TensorInfo("empty", ElementType.Int16, [4, 0]));
        var bytes = tensors.ToDictionary(info => info.Name, info => new byte[info.ByteLength]);
        var metadata = new Dictionary<string, string> { ["step"] = "7\u0000€" };
        using (var writer = new SafeTensorsWriter(folder["a"], tensors, metadata))
        {
            foreach (var info in writer.Order)
            {
                random.NextBytes(bytes[info.Name]);
                var half = bytes[info.Name].Length / 2;
                writer.Append(info.Name, bytes[info.Name].AsSpan(0, half));
                writer.Append(info.Name, bytes[info.Name].AsSpan(half));
            }

            writer.Commit();
        }

        using var file = SafeTensorsFile.Open(folder["a"]);
        Assert.Equal("7\u0000€", Assert.Single(file.Metadata).Value);
        Assert.Equal(tensors.Count, file.Tensors.Count);
        Assert.All(tensors, info => Assert.Equal(bytes[info.Name], file.ReadAll(info.Name)));
        Assert.All(tensors, info => Assert.Equal(info.ToString(), file.Tensors[info.Name].ToString()));
    }

    [Fact]
    public void EqualTensors_MakeEqualFiles_WhateverTheirOrder()
    {
        using var folder = new TemporaryFolder();
        (string, ElementType, long[], byte[]) a = ("a", ElementType.UInt8, [3], [1, 2, 3]);
        (string, ElementType, long[], byte[]) b = ("b", ElementType.Float32, [1], [1, 2, 3, 4]);
        WeightFiles.Write(folder["1"], a, b);
        WeightFiles.Write(folder["2"], b, a);
        Assert.Equal(WeightDigest.OfFile(folder["1"]), WeightDigest.OfFile(folder["2"]));
    }

    [Fact]
    public void Data_BeginsAtAMultipleOfEight_WideElementsFirst()
    {
        using var folder = new TemporaryFolder();
        WeightFiles.Write(
            folder["a"], ("a", ElementType.UInt8, [3], [1, 2, 3]), ("bc", ElementType.Int64, [1], new byte[8]));
        var bytes = File.ReadAllBytes(folder["a"]);
        Assert.Equal(0, BitConverter.ToInt64(bytes) % 8);
        Assert.Equal([1, 2, 3], bytes[^3..]);
    }

    [Fact]
    public void UncommittedWriter_LeavesTheOldFile_AndNothingElse()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["a"], "old");
        using (var writer = new SafeTensorsWriter(folder["a"], [new TensorInfo("w", ElementType.UInt8, [2])]))
        {
            writer.Append("w", [1]);
            Assert.Throws<InvalidOperationException>(writer.Commit);
        }

        Assert.Equal(["a"], folder.Files);
        Assert.Equal("old", File.ReadAllText(folder["a"]));
    }

    [Fact]
    public void Writer_RefusesBytesThatAreNotDue()
    {
        using var folder = new TemporaryFolder();
        TensorInfo[] tensors = [new("a", ElementType.UInt8, [2]), new("b", ElementType.UInt8, [1])];
        using var writer = new SafeTensorsWriter(folder["a"], tensors);
        Assert.Throws<InvalidOperationException>(() => writer.Append("b", [1]));
        Assert.Throws<InvalidOperationException>(() => writer.Append("a", [1, 2, 3]));
    }

    [Theory]
    [InlineData("a", "a")]
    [InlineData("a", "__metadata__")]
    public void Writer_RefusesNamesThatCollide(string first, string second)
    {
        using var folder = new TemporaryFolder();
        TensorInfo[] tensors = [new(first, ElementType.UInt8, [1]), new(second, ElementType.UInt8, [1])];
        Assert.Throws<ArgumentException>(() => new SafeTensorsWriter(folder["a"], tensors));
        Assert.Empty(folder.Files);
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,4]}}""", "data_offsets [8, 4] run backwards")]
    [InlineData("""{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}""", "dtype \"F8_E4M3\" is not supported")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", "needs 12 bytes, but data_offsets cover 8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "bytes 0 to 4 of the data belong to no")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "4 bytes follow the last tensor")]
    [InlineData("""{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "dtype occurs twice")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"scale":2}}""", "unknown field \"scale\"")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}""", "data_offsets [begin, end]")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}""", "other than 64-bit integers")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x""", "not valid JSON")]
    [InlineData("""{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "not valid JSON")]
    [InlineData("""{"__metadata__":{"a":"b","\u0061":"c"}}""", "\"a\" occurs twice")]
    [InlineData("""{"__metadata__":{},"__metadata__":{}}""", "__metadata__: occurs twice")]
    [InlineData("""{"__metadata__":null}""", "is not an object")]
    [InlineData("""{"a":7}""", "is not an object")]
    public void InvalidHeader_IsRefusedWithTheReason(string header, string reason)
    {
        var bytes = WeightFiles.SafeTensors(header, 8);
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(bytes));
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_OfAPart_GivesThatPart_AndNothingOutside()
    {
        var bytes = WeightFiles.SafeTensors("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8);
        using var file = WeightFiles.OpenBytes(bytes);
        var part = new byte[4];
        file.Read("a", 4, part);
        Assert.Equal([4, 5, 6, 7], part);
        Assert.Throws<ArgumentException>(() => file.Read("a", 8, part));
        Assert.Throws<ArgumentException>(() => file.Read("a", -4, part));
        Assert.Throws<ArgumentException>(() => file.Read("a", 2, part));
        Assert.Throws<ArgumentException>(() => file.Read("b", 0, part));
        Assert.Throws<ArgumentException>(() => file.ReadInto("a", part));
    }

    [Fact]
    public void Data_BeyondFourGigabytes_IsReachedWithoutReadingTheRest()
    {
        const long Gap = 5L << 30;
        using var folder = new TemporaryFolder();
        var header = """
            {"gap": {"dtype": "U8", "shape": [GAP], "data_offsets": [0, GAP]},
             "w": {"dtype": "U8", "shape": [3], "data_offsets": [GAP, END]}}
            """.Replace("GAP", $"{Gap}", StringComparison.Ordinal)
            .Replace("END", $"{Gap + 3}", StringComparison.Ordinal);
        var head = WeightFiles.SafeTensors(header, 0);
        using (var stream = File.Create(folder["a"]))
        {
            stream.Write(head);
            stream.Position = head.Length + Gap;
            stream.Write([7, 8, 9]);
        }

        using var file = WeightFile.Open(folder["a"]);
        Assert.Equal(Gap, file.Tensors["gap"].ByteLength);
        Assert.Equal([7, 8, 9], file.ReadAll("w"));
    }

    [Fact]
    public void FileThatShrankAfterOpening_IsRefused()
    {
        using var folder = new TemporaryFolder();
        WeightFiles.Write(folder["a"], ("w", ElementType.UInt8, [100], new byte[100]));
        using var file = SafeTensorsFile.Open(folder["a"]);
        using (var handle = File.OpenHandle(folder["a"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            RandomAccess.SetLength(handle, 100);
        }

        Assert.Throws<RefusedFileException>(() => file.ReadAll("w"));
    }
}

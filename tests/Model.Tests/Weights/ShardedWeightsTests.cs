// Goal: a sharded model reads like one file, and an index can neither refer to files outside its folder nor promise
// tensors that do not exist.
using Atelier.Model.Weights;
using Xunit;

namespace Atelier.Model.Tests.Weights;

public sealed class ShardedWeightsTests : IDisposable
{
    private const string Sound =
        """{"metadata":{"total_size":5},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}""";

    private readonly TemporaryFolder _folder = new();

    public ShardedWeightsTests()
    {
        WeightFiles.Write(_folder["1.safetensors"], ("a", ElementType.UInt8, [2], [1, 2]));
        WeightFiles.Write(
            _folder["2.safetensors"], ("b", ElementType.UInt8, [3], [3, 4, 5]), ("more", ElementType.UInt8, [1], [6]));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void ShardedModel_ReadsLikeOneFile()
    {
        using var source = Open(Sound);
        Assert.Equal(["a", "b"], source.Tensors.Keys.Order());
        Assert.Equal([1, 2], source.ReadAll("a"));
        Assert.Equal([3, 4, 5], source.ReadAll("b"));
    }

    [Fact]
    public void Digest_CoversTheShards()
    {
        string first, second;
        using (var source = Open(Sound))
        {
            first = WeightDigest.Of(source);
            Assert.Equal(first, WeightDigest.Of(source));
        }

        WeightFiles.Write(_folder["1.safetensors"], ("a", ElementType.UInt8, [2], [1, 3]));
        using (var source = Open(Sound))
        {
            second = WeightDigest.Of(source);
        }

        Assert.NotEqual(first, second);
    }

    [Theory]
    [InlineData("""{"weight_map":{"a":"../1.safetensors"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"/etc/passwd"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":".."}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"x\\1.safetensors"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"1.safetensors\u0000"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":""}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"3.safetensors"}}""", "is missing")]
    [InlineData("""{"weight_map":{"b":"1.safetensors"}}""", "does not contain it")]
    [InlineData("""{"weight_map":{"a":"index.json"}}""", "is not safetensors")]
    [InlineData("""{"weight_map":{"a":1}}""", "is not a string")]
    [InlineData("""{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}""", "occurs twice")]
    [InlineData("""{"weight_map":{},"weight_map":{}}""", "occurs twice")]
    [InlineData("""{"weight_map":[]}""", "is not an object")]
    [InlineData("""{"metadata":{}}""", "has no \"weight_map\"")]
    [InlineData("""{"metadata":[[[[[[[[[[[[]]]]]]]]]]]],"weight_map":{}}""", "not valid JSON")]
    [InlineData("""{"weight_map":{}} {}""", "not valid JSON")]
    public void BadIndex_IsRefusedWithTheReason(string index, string reason)
    {
        var refusal = Assert.Throws<RefusedFileException>(() => Open(index));
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
    }

    private IWeightSource Open(string index)
    {
        File.WriteAllText(_folder["index.json"], index);
        return WeightFile.Open(_folder["index.json"]);
    }
}

// Goal: a shard file that changes while a data set is used is never read silently: it is verified again if the index
// has its checksum, and refused with its name otherwise. Method: data sets of two shards, whose files are rewritten.
using Atelier.Model.Data.Mds;
using Xunit;

namespace Atelier.Model.Tests.Data.Mds;

public sealed class ShardStampsTests : IDisposable
{
    private const int Samples = 8;
    private readonly TemporaryFolder _folder = new();

    private string Shard => _folder["set/shard.00001.mds"];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void ShardWithAChecksum_ThatIsWrittenAgain_IsVerifiedAgain()
    {
        Write("sha256");
        using var data = new MdsDataset(_folder["set"]);
        ReadAll(data);
        byte[] bytes = File.ReadAllBytes(Shard);
        Replace(bytes, seconds: 1);
        ReadAll(data);

        bytes[^1] ^= 1;
        Replace(bytes, seconds: 2);
        Assert.Equal(0, data[0].Bytes("x").Span[0]);
        RefusedFileException refusal = Assert.Throws<RefusedFileException>(() => ReadAll(data));
        Assert.Equal((Shard, "sha256 of shard.00001.mds"), (refusal.File, refusal.Place));

        bytes[^1] ^= 1;
        Replace(bytes, seconds: 2); // Even with the time of the wrong one.
        ReadAll(data);
    }

    [Fact]
    public void ShardWithoutAChecksum_IsRefused_UntilItIsPutBackAsItWas()
    {
        Write();
        using var data = new MdsDataset(_folder["set"]);
        ReadAll(data);
        DateTime before = File.GetLastWriteTimeUtc(Shard);
        Replace(File.ReadAllBytes(Shard), seconds: 1);
        RefusedFileException refusal = Assert.Throws<RefusedFileException>(() => ReadAll(data));
        Assert.Equal(Shard, refusal.File);
        Assert.Contains("has changed since it was first read; put the file back as it was", refusal.Message);
        File.SetLastWriteTimeUtc(Shard, before);
        ReadAll(data);

        File.Move(Shard, _folder["away"]);
        Assert.Contains("it is missing", Assert.Throws<RefusedFileException>(() => ReadAll(data)).Message);
        File.Move(_folder["away"], Shard);
        ReadAll(data);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ShardThatWasRefused_IsRefusedWhenTheSetIsOpenedAgain_InTheSameProcess(bool hasChecksum)
    {
        Write(hasChecksum ? ["sha256"] : []);
        var options = new MdsReadOptions { Stamps = new ShardStamps(), OpenShardsMax = 1 };
        byte[] bytes = File.ReadAllBytes(Shard);
        DateTime before = File.GetLastWriteTimeUtc(Shard);
        using (var data = new MdsDataset(_folder["set"], options))
        {
            ReadAll(data);
            bytes[^1] ^= 1;
            Replace(bytes, seconds: 1);
            Assert.Throws<RefusedFileException>(() => ReadAll(data));
        }

        Assert.Equal(
            Shard, Assert.Throws<RefusedFileException>(() => new MdsDataset(_folder["set"], options)).File);
        bytes[^1] ^= 1;
        Replace(bytes, seconds: 1);
        File.SetLastWriteTimeUtc(Shard, before);
        using var again = new MdsDataset(_folder["set"], options);
        ReadAll(again);
    }

    // Another index means other data, of which nothing is remembered.
    [Fact]
    public void NewDataInTheSameFolder_AreRead()
    {
        Write();
        var options = new MdsReadOptions { Stamps = new ShardStamps() };
        using (var data = new MdsDataset(_folder["set"], options))
        {
            ReadAll(data);
        }

        Directory.Delete(_folder["set"], recursive: true);
        Write("sha256");
        Replace(File.ReadAllBytes(Shard), seconds: 1);
        using var again = new MdsDataset(_folder["set"], options);
        ReadAll(again);
    }

    private static void ReadAll(MdsDataset data)
    {
        for (int i = 0; i < Samples; i++)
        {
            Assert.Equal(i, data[i].Bytes("x").Span[0]);
        }
    }

    private void Write(params string[] hashes)
    {
        var writer = new MdsWriter(
            _folder["set"], new Dictionary<string, string> { ["x"] = "bytes" },
            new MdsWriteOptions { SizeLimit = 400, Hashes = hashes });
        for (int i = 0; i < Samples; i++)
        {
            writer.Write(new Dictionary<string, object> { ["x"] = Enumerable.Repeat((byte)i, 40).ToArray() });
        }

        Assert.Equal(2, writer.Complete().Shards.Count);
    }

    // Writes a new file beside the old one and renames it, with a time that differs by that many seconds.
    private void Replace(byte[] bytes, int seconds)
    {
        DateTime time = File.GetLastWriteTimeUtc(_folder["set/index.json"]).AddSeconds(seconds);
        File.WriteAllBytes(Shard + ".new", bytes);
        File.SetLastWriteTimeUtc(Shard + ".new", time);
        File.Move(Shard + ".new", Shard, overwrite: true);
    }
}

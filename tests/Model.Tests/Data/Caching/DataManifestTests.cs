// Goal: a manifest names every file of a data set by its digest, and one that is not valid is refused with a reason.
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Data.Caching;
using Atelier.Model.Data.Mds;
using Xunit;

namespace Atelier.Model.Tests.Data.Caching;

public sealed class DataManifestTests
{
    private static readonly string s_digest = new('a', 64);

    [Fact]
    public async Task ManifestOfAFolder_ListsItsFilesInPieces_TheIndexFirst()
    {
        using var folder = new TemporaryFolder();
        var writer = new MdsWriter(
            folder["set"], new Dictionary<string, string> { ["x"] = "bytes" },
            new MdsWriteOptions { SizeLimit = 40 << 20 });
        writer.Write(new Dictionary<string, object> { ["x"] = new byte[(20 << 20) + 5] });
        writer.Complete();
        await File.WriteAllTextAsync(
            folder["set/recipe.json"], "not a part of the data set", TestContext.Current.CancellationToken);
        var stored = new List<string>();
        DataManifest manifest = await DataManifest.OfFolderAsync(folder["set"], (piece, bytes) =>
        {
            Assert.Equal((piece.Length, piece.Sha256), (bytes.Length, Hash(bytes.Span)));
            stored.Add(piece.Sha256);
            return Task.CompletedTask;
        }, TestContext.Current.CancellationToken);

        Assert.Equal(["index.json", "shard.00000.mds"], manifest.Files.Select(file => file.Name));
        Assert.Equal(stored, manifest.Files.SelectMany(file => file.Pieces).Select(piece => piece.Sha256));
        Assert.Equal([1, 2], manifest.Files.Select(file => file.Pieces.Count));
        Assert.All(manifest.Files, file => Assert.Equal(
            Hash(File.ReadAllBytes(folder["set/" + file.Name])), file.Sha256));
        Assert.Equal(manifest.Write(), DataManifest.Parse(manifest.Write(), "blob:x").Write());
    }

    [Theory]
    [InlineData("", "cannot be read")]
    [InlineData("null", "cannot be read")]
    [InlineData("""{"files":null}""", "cannot be read")]
    [InlineData("""{"files":[]}""", "must begin with index.json")]
    [InlineData("""{"files":[INDEX,INDEX]}""", "lists a file twice")]
    [InlineData("""{"files":[INDEX,{"name":"../x","length":0,"sha256":"DIGEST","pieces":[]}]}""", "lists '../x'")]
    [InlineData("""{"files":[INDEX,{"name":"/x","length":0,"sha256":"DIGEST","pieces":[]}]}""", "lists '/x'")]
    [InlineData("""{"files":[INDEX,{"name":"x","length":0,"sha256":"abc","pieces":[]}]}""", "lists 'x'")]
    [InlineData("""{"files":[INDEX,{"name":"x","length":1,"sha256":"DIGEST","pieces":[]}]}""", "lists 'x'")]
    public void ManifestThatIsNotValid_IsRefused(string json, string reason)
    {
        string text = json
            .Replace(
                "INDEX",
                """{"name":"index.json","length":2,"sha256":"DIGEST","pieces":[{"sha256":"DIGEST","length":2}]}""")
            .Replace("DIGEST", s_digest);
        RefusedFileException refusal = Assert.Throws<RefusedFileException>(
            () => DataManifest.Parse(Encoding.UTF8.GetBytes(text), "blob:x"));
        Assert.Contains(reason, refusal.Message);
    }

    [Fact]
    public void NamesOfStoredDataSets_HaveADigest()
    {
        Assert.Null(DataManifest.DigestIn("/data/blob:x"));
        Assert.Equal(s_digest, DataManifest.DigestIn("blob:" + s_digest));
        Assert.Throws<RefusedFileException>(() => DataManifest.DigestIn("blob:" + s_digest.ToUpperInvariant()));
        Assert.Contains(
            "`atelier train` needs a folder",
            Assert.Throws<RefusedFileException>(() => new FolderDataSets().Open("blob:" + s_digest)).Message);
    }

    private static string Hash(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}

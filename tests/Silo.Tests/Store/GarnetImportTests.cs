// Goal: a cluster of format 0 continues under this release with everything that it had accepted. Method: the folder of
// such a cluster, as its silo left it when it was killed: a tenant, a session, and generations that were done,
// cancelled and open.
using System.Formats.Tar;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains.Generations;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Tenants;
using Atelier.Silo.Store;
using Xunit;

namespace Atelier.Silo.Tests.Store;

public sealed class GarnetImportTests
{
    [Fact]
    public async Task AStoreOfFormat0_IsTakenOver_Once_AndItsFilesAreKept()
    {
        using var folder = new StoreFolder();
        await using (var file = new GZipStream(File.OpenRead(Vector()), CompressionMode.Decompress))
        {
            await TarFile.ExtractToDirectoryAsync(
                file, folder.Path, overwriteFiles: false, TestContext.Current.CancellationToken);
        }

        using (SqliteStore store = folder.Open())
        {
            int count = await GarnetImport.RunAsync(store, folder.Path, "atelier");
            Assert.True(count > 10, $"{count} states");
            Assert.Equal(
                GenerationPhase.Done, (await StateAsync<GenerationState>(store, "generation/studio/done-0")).Phase);
            Assert.Equal(
                GenerationPhase.Cancelled,
                (await StateAsync<GenerationState>(store, "generation/studio/cancelled")).Phase);
            GenerationState open = await StateAsync<GenerationState>(store, "generation/studio/open-0");
            Assert.True(open.IsOpen);
            Assert.Equal(("three green rings", 1000), (open.Submission!.Spec.Prompt, open.Submission.Spec.Steps));
            TenantState tenant = await StateAsync<TenantState>(store, "tenant/studio");
            Assert.Equal((2, 120), (tenant.Settings!.Weight, tenant.Settings.RequestsPerMinute));
            Assert.Equal("laptop", Assert.Single(tenant.Keys).Label);
            List<byte[]> sets = await store.ReadAsync(session => session.Rows(
                "SELECT data FROM state WHERE grain LIKE 'openset/%'", row => row.GetFieldValue<byte[]>(0)));
            string[] listed = [.. sets.SelectMany(set => StoreFolder.Decode<OpenSetState>(set).Added.Keys)];
            Assert.All(Enumerable.Range(0, 3), i => Assert.Contains($"studio/open-{i}", listed));
            Assert.True(await store.BytesOfAsync(new TenantId("studio")) > 0);
            Assert.True(Directory.Exists(Path.Combine(folder.Path, GarnetImport.AsideFolder, "AOF")));
            Assert.False(Directory.Exists(Path.Combine(folder.Path, "AOF")));
        }

        using SqliteStore again = folder.Open();
        Assert.Equal(0, await GarnetImport.RunAsync(again, folder.Path, "atelier"));
        Assert.True((await StateAsync<GenerationState>(again, "generation/studio/open-1")).IsOpen);
    }

    [Fact]
    public async Task AStoreOfAnotherCluster_IsLeftAsItIs()
    {
        using var folder = new StoreFolder();
        await using (var file = new GZipStream(File.OpenRead(Vector()), CompressionMode.Decompress))
        {
            await TarFile.ExtractToDirectoryAsync(
                file, folder.Path, overwriteFiles: false, TestContext.Current.CancellationToken);
        }

        using SqliteStore store = folder.Open(cluster: "other");
        await Assert.ThrowsAsync<ArgumentException>(() => GarnetImport.RunAsync(store, folder.Path, "other"));
        Assert.True(Directory.Exists(Path.Combine(folder.Path, "AOF")));
    }

    [Fact]
    public async Task AStoreThatWasTakenOver_AndNotPutAside_IsNotTakenOverAgain()
    {
        using var folder = new StoreFolder();
        using SqliteStore store = folder.Open();
        await store.WriteAsync(session => session.Execute("INSERT INTO meta VALUES ('imported', '1')"));
        Directory.CreateDirectory(Path.Combine(folder.Path, "AOF"));
        Assert.Equal(0, await GarnetImport.RunAsync(store, folder.Path, "atelier"));
        Assert.True(Directory.Exists(Path.Combine(folder.Path, GarnetImport.AsideFolder, "AOF")));
    }

    private static async Task<T> StateAsync<T>(SqliteStore store, string grain) => StoreFolder.Decode<T>(
        await store.ReadAsync(session => session
            .Rows("SELECT data FROM state WHERE grain = $0", row => row.GetFieldValue<byte[]>(0), grain)
            .Single()));

    private static string Vector([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "Format0Store.tar.gz");
}

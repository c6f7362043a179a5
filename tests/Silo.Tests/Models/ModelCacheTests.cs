// Goal: a silo's disk has only complete published models with the right digests, within its space, and what several of
// them share once. Method: tiny models' files in a blob store in a folder; damage on both sides.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Grains.Ports;
using Atelier.Model.Pipeline;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Hosting;
using Atelier.Silo.Models;
using Atelier.Silo.Tests.Blobs;
using Atelier.Silo.Tests.Devices;
using Microsoft.Extensions.Options;
using Xunit;

namespace Atelier.Silo.Tests.Models;

public sealed class ModelCacheTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("models").FullName;
    private readonly FaultyBlobStore _blobs;

    public ModelCacheTests() => _blobs = new FaultyBlobStore(new FolderBlobStore(
        new FolderBlobStoreOptions { Folder = Path.Combine(_folder, "blobs") }, TimeProvider.System));

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string Cached => Path.Combine(_folder, "cache", "silo");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task AModel_IsFetchedOnce_AndFoundByTheNextProcess_UnlessItIsDamaged()
    {
        PublishedModel model = await PublishAsync("one");
        DeviceModel first = await Cache().GetAsync(model, Cancellation);
        Assert.Equal((model.Digest, "one", model.Origin), (first.Card.Digest, first.Card.Name, first.Card.Origin));
        Assert.Empty(first.Folder.DifferingFiles());
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Cached));

        // Reads would fail from now on.
        _blobs.Damages = int.MaxValue;
        Assert.Equal(first.Card.Digest, (await Cache().GetAsync(model, Cancellation)).Card.Digest);
        string file = first.Folder.PathOf(first.Folder.Denoiser);
        byte[] bytes = await File.ReadAllBytesAsync(file, Cancellation);
        bytes[^1] ^= 1;
        await File.WriteAllBytesAsync(file, bytes, Cancellation);
        await Assert.ThrowsAsync<InvalidDataException>(() => Cache().GetAsync(model, Cancellation));
        _blobs.Damages = 0;
        Assert.Empty((await Cache().GetAsync(model, Cancellation)).Folder.DifferingFiles());
    }

    [Fact]
    public async Task ABlobThatIsDamagedOrMissing_IsRefusedByName_AndNothingIsLeft()
    {
        PublishedModel model = await PublishAsync("one");
        ModelCache cache = Cache();
        _blobs.Damages = 1;
        InvalidDataException damaged = await Assert.ThrowsAsync<InvalidDataException>(
            () => cache.GetAsync(model, Cancellation));
        Assert.Contains("is damaged in the blob store", damaged.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(Cached));

        PublishedFile gone = model.Files[1];
        await _blobs.ReleaseAsync(gone.Blob, Owner(model), Cancellation);
        InvalidDataException missing = await Assert.ThrowsAsync<InvalidDataException>(
            () => cache.GetAsync(model, Cancellation));
        Assert.Contains($"{gone.Name} ({gone.Blob}) is not in the blob store", missing.Message);
        Assert.Empty(Directory.GetFileSystemEntries(Cached));
    }

    [Fact]
    public async Task FilesThatModelsShare_TakeTheirSpaceOnce_AndAModelThatDoesNotFit_IsRefused()
    {
        PublishedModel one = await PublishAsync("one"), two = await PublishAsync("two");
        PublishedModel other = await PublishAsync("other", prefix: "others/");
        long own = one.Files.Sum(file => file.Length);
        long manifest = one.Files.Single(file => file.Name == ModelFolder.FileName).Length;
        ModelCache cache = Cache(own + (2 * manifest));
        await cache.GetAsync(one, Cancellation);
        await cache.GetAsync(two, Cancellation);
        CacheFullException full = await Assert.ThrowsAsync<CacheFullException>(
            () => cache.GetAsync(other, Cancellation));
        Assert.Contains("ModelCache:Megabytes", full.Message, StringComparison.Ordinal);
        Assert.Equal(2, Directory.GetDirectories(Cached).Length);

        // What is not listed anymore makes room, and what another model shares with it stays whole.
        cache.Keep([two]);
        Assert.Equal([two.Digest.Value], Directory.GetDirectories(Cached).Select(Path.GetFileName));
        Assert.Empty((await Cache().GetAsync(two, Cancellation)).Folder.DifferingFiles());
        cache.Keep([]);
        await cache.GetAsync(other, Cancellation);
    }

    [Fact]
    public async Task WhatAnEarlierProcessLeftUnfinished_IsRemoved()
    {
        Directory.CreateDirectory(Path.Combine(Cached, "x.part"));
        await Cache().GetAsync(await PublishAsync("one"), Cancellation);
        Assert.Single(Directory.GetDirectories(Cached));
    }

    private static BlobOwner Owner(PublishedModel model) => new(BlobOwnerType.Model, model.Owner);

    private ModelCache Cache(long bytesMax = 1 << 30) => new(_blobs, new ModelDisk(
        Options.Create(new ModelCacheOptions { Folder = Path.Combine(_folder, "cache"), BytesMax = bytesMax }),
        new SiloDetails(new SiloSettings { Name = "silo" }, 1)));

    private async Task<PublishedModel> PublishAsync(string name, string prefix = "vae/")
    {
        ModelFolder folder = TinyModels.Write(Path.Combine(_folder, name), name, prefix);
        PublishedFile[] files =
        [
            .. folder.Files.Select(file => (file.Name, file.Sha256)).Append((ModelFolder.FileName, folder.Digest))
                .Select(file => new PublishedFile(
                    file.Item1, file.Item2, new FileInfo(Path.Combine(folder.Path, file.Item1)).Length)),
        ];
        var model = new PublishedModel
        {
            Digest = new ModelDigest(folder.Digest), Name = name, Files = files, Owner = name,
            Origin = new ModelOrigin("run", 0, 5, new string('a', 64)), Base = new ModelDigest(folder.Digest),
            PublishedAt = DateTimeOffset.UnixEpoch,
        };
        foreach (PublishedFile file in files)
        {
            byte[] bytes = await File.ReadAllBytesAsync(Path.Combine(folder.Path, file.Name), Cancellation);
            await _blobs.PutAsync(file.Blob, Owner(model), bytes, Cancellation);
        }

        return model;
    }
}

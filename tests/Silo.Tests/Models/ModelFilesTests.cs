// Goal: a model is fetched whole before a silo starts, or not at all, with an error that says why. Method: a tiny model
// in a blob store in a folder, and the program's command.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Pipeline;
using Atelier.Silo.Blobs;
using Atelier.Silo.Hosting;
using Atelier.Silo.Models;
using Atelier.Silo.Tests.Blobs;
using Atelier.Silo.Tests.Devices;
using Xunit;

namespace Atelier.Silo.Tests.Models;

public sealed class ModelFilesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fetch").FullName;
    private readonly FaultyBlobStore _blobs;

    public ModelFilesTests() => _blobs = new FaultyBlobStore(new FolderBlobStore(
        new FolderBlobStoreOptions { Folder = Stored }, TimeProvider.System));

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string Stored => Path.Combine(_folder, "blobs");

    private string Target => Path.Combine(_folder, "models", "tiny");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task AModel_IsFetchedOnce_AndItsDamagedFilesAgain()
    {
        string digest = await StoreAsync();
        await ModelFiles.FetchModelAsync(_blobs, digest, "tiny", Target, Cancellation);
        ModelFolder model = ModelFolder.Open(Target);
        Assert.Equal(digest, model.Digest);
        Assert.Empty(model.DifferingFiles());
        Assert.Equal(
            model.Files.Select(file => file.Name).Append(ModelFolder.FileName).Distinct().Order(),
            Directory.GetFiles(Target).Select(Path.GetFileName).Order());

        DateTime written = File.GetLastWriteTimeUtc(model.PathOf(model.Denoiser));
        await ModelFiles.FetchModelAsync(_blobs, digest, null, Target, Cancellation);
        Assert.Equal(written, File.GetLastWriteTimeUtc(model.PathOf(model.Denoiser)));
        await File.AppendAllTextAsync(model.PathOf(model.Denoiser), "x", Cancellation);
        await ModelFiles.FetchModelAsync(_blobs, digest, null, Target, Cancellation);
        Assert.Empty(ModelFolder.Open(Target).DifferingFiles());
    }

    [Fact]
    public async Task AModelThatCannotBeFetched_IsNoModel_AndTheReasonIsNamed()
    {
        string digest = await StoreAsync();
        await RefusedAsync(digest, "other", "is 'tiny', not 'other'");
        await RefusedAsync(new string('a', 64), null, "is not in the blob store");
        string file = ModelFolder.Open(Path.Combine(_folder, "source")).Vocabulary.Sha256;
        Exception error = await Assert.ThrowsAnyAsync<Exception>(
            () => ModelFiles.FetchModelAsync(_blobs, file, null, Target, Cancellation));
        Assert.IsType<RefusedFileException>(error, exactMatch: false);
        await _blobs.ReleaseAsync(BlobName.OfCluster(BlobKind.Model, file), Owner, Cancellation);
        await RefusedAsync(digest, null, "is not in the blob store");
        Assert.Throws<RefusedFileException>(() => ModelFolder.Open(Target));

        async Task RefusedAsync(string model, string? name, string reason)
        {
            InvalidDataException refused = await Assert.ThrowsAsync<InvalidDataException>(
                () => ModelFiles.FetchModelAsync(_blobs, model, name, Target, Cancellation));
            Assert.Contains(reason, refused.Message, StringComparison.Ordinal);
            Assert.Empty(Directory.GetFiles(Target, "*.part"));
        }
    }

    [Fact]
    public async Task TheCommand_FetchesFromTheConfiguredStore()
    {
        string digest = await StoreAsync();
        string store = $"--Blobs:Folder={Stored}";
        Assert.Equal(0, await FetchModel.RunAsync([store, "--digest", digest, "--name", "tiny", "--to", Target]));
        Assert.Equal(digest, ModelFolder.Open(Target).Digest);
        Assert.Equal(1, await FetchModel.RunAsync([store, "--digest", digest, "--name", "big", "--to", Target]));
        Assert.Equal(2, await FetchModel.RunAsync([store, "--digest", "abc", "--to", Target]));
        Assert.Equal(2, await FetchModel.RunAsync([store, "--digest", digest]));
        Assert.Equal(2, await FetchModel.RunAsync(
            ["--Blobs:Azure", "nonsense", "--digest", digest, "--to", Target]));
    }

    private static BlobOwner Owner => new(BlobOwnerType.Model, "tiny");

    private async Task<string> StoreAsync()
    {
        ModelFolder model = TinyModels.Write(Path.Combine(_folder, "source"), "tiny");
        foreach ((string name, string sha256) in model.Files.Select(file => (file.Name, file.Sha256))
            .Append((ModelFolder.FileName, model.Digest)))
        {
            byte[] bytes = await File.ReadAllBytesAsync(Path.Combine(model.Path, name), Cancellation);
            await _blobs.PutAsync(BlobName.OfCluster(BlobKind.Model, sha256), Owner, bytes, Cancellation);
        }

        return model.Digest;
    }
}

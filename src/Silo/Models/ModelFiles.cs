// Files of models in the blob store: for a silo that follows the published models, and for the program that fetches one
// before a silo starts.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Pipeline;

namespace Atelier.Silo.Models;

/// <summary>Fetches files of published models.</summary>
internal static class ModelFiles
{
    private const int BufferBytes = 1 << 20;

    /// <summary>Fetches a file, and checks its digest.</summary>
    /// <param name="blobs">The blob store.</param>
    /// <param name="name">Name of the file, for messages.</param>
    /// <param name="blob">The blob with the file's bytes.</param>
    /// <param name="path">Where the file is created.</param>
    /// <param name="cancellation">Cancels the fetch; the file is incomplete then.</param>
    /// <exception cref="InvalidDataException">The file is missing from the blob store, or is damaged there.</exception>
    public static async Task FetchAsync(
        IBlobStore blobs, string name, BlobName blob, string path, CancellationToken cancellation)
    {
        await using BlobContent content = await blobs.OpenAsync(blob, default, cancellation)
            ?? throw new InvalidDataException($"{name} ({blob}) is not in the blob store.");
        await using var stream = new FileStream(
            path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.Asynchronous);
        try
        {
            await content.Stream.CopyToAsync(stream, BufferBytes, cancellation);
        }
        catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
        {
            throw new InvalidDataException($"{name} ({blob}) is damaged in the blob store.", error);
        }
    }

    /// <summary>
    /// Fetches a whole model into a folder, unless it is there. The manifest comes last, so that an incomplete folder
    /// is not a model; files of an earlier attempt are replaced.
    /// </summary>
    /// <param name="blobs">The blob store.</param>
    /// <param name="digest">The model's digest: the SHA-256 of its manifest.</param>
    /// <param name="name">The name that the model must have; null for any.</param>
    /// <param name="folder">The folder, which is created if it does not exist.</param>
    /// <param name="cancellation">Cancels the fetch.</param>
    /// <exception cref="InvalidDataException">
    /// The model is not in the blob store, is damaged there, or has another name.
    /// </exception>
    /// <exception cref="RefusedFileException">The blob with the digest is not a manifest.</exception>
    public static async Task FetchModelAsync(
        IBlobStore blobs, string digest, string? name, string folder, CancellationToken cancellation)
    {
        Directory.CreateDirectory(folder);
        string manifest = Path.Combine(folder, ModelFolder.FileName), part = manifest + ".part";
        File.Delete(part);
        try
        {
            await FetchAsync(
                blobs, "The manifest", BlobName.OfCluster(BlobKind.Model, digest), part, cancellation);
            ModelFolder model = ModelFolder.ReadManifest(part);
            if (name is not null && model.Name != name)
            {
                throw new InvalidDataException($"The model {digest} is '{model.Name}', not '{name}'.");
            }

            if (File.Exists(manifest) && ModelFolder.Open(folder) is { } present && present.Digest == digest
                && !present.DifferingFiles().Any())
            {
                return;
            }

            File.Delete(manifest);
            foreach (ModelFile file in model.Files.DistinctBy(file => file.Name))
            {
                if (file.Name != Path.GetFileName(file.Name))
                {
                    throw new InvalidDataException(
                        $"The manifest {digest} names a file outside of its folder: {file.Name}");
                }

                string path = Path.Combine(folder, file.Name);
                File.Delete(path);
                await FetchAsync(blobs, file.Name, BlobName.OfCluster(BlobKind.Model, file.Sha256), path, cancellation);
            }

            File.Move(part, manifest);
        }
        finally
        {
            File.Delete(part);
        }
    }
}

// The published models on a silo's disk. A model is fetched from the blob store file by file, checked against its
// digests, and renamed when it is complete. Files that several models share are stored once.
using Atelier.Contracts.Models;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Pipeline;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;

namespace Atelier.Silo.Models;

/// <summary>Thrown when a published model does not fit into a silo's cache.</summary>
internal sealed class CacheFullException(string message) : Exception(message);

/// <summary>Fetches published models. Used by one caller at a time.</summary>
internal sealed class ModelCache(IBlobStore blobs, ModelDisk disk)
{
    private readonly Dictionary<string, DeviceModel> _known = new(StringComparer.Ordinal);

    /// <summary>Returns a model, and fetches it if it is not on the disk or is damaged there.</summary>
    /// <param name="model">The model.</param>
    /// <param name="cancellation">Cancels the fetch; no part of the model is left then.</param>
    /// <exception cref="CacheFullException">The model does not fit.</exception>
    /// <exception cref="InvalidDataException">A file is missing from the blob store, or is damaged there.</exception>
    /// <exception cref="RefusedFileException">The files are not a complete model.</exception>
    /// <exception cref="IOException">A file cannot be read or written.</exception>
    public async Task<DeviceModel> GetAsync(PublishedModel model, CancellationToken cancellation)
    {
        string digest = model.Digest.Value;
        if (!_known.TryGetValue(digest, out DeviceModel? known))
        {
            string folder = disk.PathOf(digest);
            if (!IsSound(folder, digest))
            {
                await FetchAsync(model, folder, cancellation);
            }

            known = DeviceModel.Open(folder);
            _known.Add(digest, known = known with { Card = known.Card with { Origin = model.Origin } });
        }

        return known;
    }

    /// <summary>Removes all models from the disk that are not in a list.</summary>
    public void Keep(IReadOnlyCollection<PublishedModel> models)
    {
        foreach (string folder in disk.Complete()
            .Where(folder => models.All(model => model.Digest.Value != Path.GetFileName(folder))).ToArray())
        {
            _known.Remove(Path.GetFileName(folder));
            Directory.Delete(folder, recursive: true);
        }
    }

    private static bool IsSound(string folder, string digest)
    {
        try
        {
            return Directory.Exists(folder) && ModelFolder.Open(folder) is { } model && model.Digest == digest
                && !model.DifferingFiles().Any();
        }
        catch (RefusedFileException)
        {
            return false;
        }
    }

    private async Task FetchAsync(PublishedModel model, string folder, CancellationToken cancellation)
    {
        // Every file that is already here, by digest.
        Dictionary<string, string> here = _known.Values.SelectMany(known => known.Folder.Files.Select(file =>
                (file.Sha256, Path: known.Folder.PathOf(file))))
            .DistinctBy(file => file.Sha256).ToDictionary(file => file.Sha256, file => file.Path);
        long used = here.Values.Sum(path => new FileInfo(path).Length);
        long needed = model.Files.Where(file => !here.ContainsKey(file.Sha256)).Sum(file => file.Length);
        if (used + needed > disk.BytesMax)
        {
            throw new CacheFullException(
                $"it needs {needed >> 20:n0} MiB, and {(disk.BytesMax - used) >> 20:n0} MiB of ModelCache:Megabytes "
                + "are free. Raise that setting, or withdraw a published model (`atelier models unpublish`).");
        }

        string part = disk.CreateUnfinished();
        try
        {
            foreach (PublishedFile file in model.Files)
            {
                string path = Path.Combine(part, Path.GetFileName(file.Name));
                if (!here.TryGetValue(file.Sha256, out string? existing) || !DurableFiles.TryLink(existing, path))
                {
                    await ModelFiles.FetchAsync(blobs, file.Name, file.Blob, path, cancellation);
                }
            }

            if (ModelFolder.Open(part).Digest != model.Digest.Value)
            {
                throw new InvalidDataException($"{ModelFolder.FileName} is not that of the model {model.Digest}.");
            }

            if (Directory.Exists(folder))
            {
                Directory.Delete(folder, recursive: true); // It is damaged.
            }

            Directory.Move(part, folder);
        }
        catch
        {
            Directory.Delete(part, recursive: true);
            throw;
        }
    }
}

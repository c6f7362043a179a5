// A checkpoint as the files of a model in the blob store: its denoiser, the other networks of the model whose latents
// it was trained on, and a manifest. The same checkpoint under the same name gives the same bytes.
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Grains;
using Atelier.Grains.Ports;
using Atelier.Grains.Training;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Training.Checkpoints;
using Microsoft.Win32.SafeHandles;

namespace Atelier.Silo.Models;

/// <summary>A checkpoint that is to be published.</summary>
/// <param name="Name">Name of the model.</param>
/// <param name="Run">The run.</param>
/// <param name="Stage">Index of the stage.</param>
/// <param name="Config">The stage.</param>
/// <param name="Checkpoint">The checkpoint, which is kept in the blob store meanwhile.</param>
/// <param name="Base">The model with the other networks.</param>
internal sealed record Publication(
    string Name, string Run, int Stage, StageConfig Config, CheckpointManifest Checkpoint, ModelFolder Base);

/// <summary>Stores the files of models.</summary>
internal sealed class ModelPublisher(IBlobStore blobs, ModelDisk disk, TimeProvider clock)
{
    private const string Weights = "weights";
    private const string Average = "ema";
    private const int BufferBytes = 1 << 20;

    /// <summary>
    /// Stores a model's files for a new owner. If that fails, or if the caller does not need them, the owner's blobs
    /// are to be released.
    /// </summary>
    /// <param name="publication">What is published.</param>
    /// <param name="cancellation">Cancels the work.</param>
    /// <returns>The model.</returns>
    /// <exception cref="PublishRefusedException">The checkpoint or a file of the base model is damaged.</exception>
    /// <exception cref="IOException">The blob store or the disk fails; nothing is left in the blob store.</exception>
    public async Task<PublishedModel> StoreAsync(Publication publication, CancellationToken cancellation)
    {
        string folder = disk.CreateUnfinished();
        try
        {
            string weights = await WriteDenoiserAsync(publication, folder, cancellation);
            ModelFolder own = WriteManifest(publication, weights, folder);
            return await StoreAsync(publication, own, weights, cancellation);
        }
        catch (InvalidDataException error)
        {
            throw new PublishRefusedException("damaged", error.Message, error);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Releases a model's blobs.</summary>
    public async Task ReleaseAsync(PublishedModel model)
    {
        foreach (PublishedFile file in model.Files)
        {
            // What is not released here is found by a sweep.
            await GrainCalls.TryAsync(() => blobs.ReleaseAsync(
                file.Blob, new BlobOwner(BlobOwnerType.Model, model.Owner), CancellationToken.None));
        }
    }

    // The averaged weights if the stage keeps an average, as in the result of `train`. Returns the digest of the last
    // weights.
    private async Task<string> WriteDenoiserAsync(
        Publication publication, string folder, CancellationToken cancellation)
    {
        CheckpointManifest checkpoint = publication.Checkpoint;
        using var denoiser = new DenoiserFile(publication.Config);
        string[] names = checkpoint.Vectors.Contains(Average) ? [Weights, Average] : [Weights];
        TrainingState state = await new CheckpointBlobs(blobs, new BlobOwner(BlobOwnerType.Run, publication.Run))
            .ReadAsync(checkpoint, names, denoiser.Parameters, cancellation);
        denoiser.Write(
            Path.Combine(folder, FileName(publication.Base)), state.Vectors[^1].Values, checkpoint.Step);
        return TrainingState.Digest(state.Vectors[0]);
    }

    private static string FileName(ModelFolder other)
    {
        string name = "denoiser.safetensors";
        while (other.Files.Any(file => file != other.Denoiser && file.Name == name))
        {
            name = $"trained-{name}";
        }

        return name;
    }

    private static ModelFolder WriteManifest(Publication publication, string weights, string folder)
    {
        (ModelFolder other, StageConfig config) = (publication.Base, publication.Config);
        string file = FileName(other);
        JsonObject manifest = JsonNode.Parse(
            File.ReadAllBytes(Path.Combine(other.Path, ModelFolder.FileName)))!.AsObject();
        manifest["name"] = publication.Name;
        manifest["source"] = $"run {publication.Run}, stage {publication.Stage}, step {publication.Checkpoint.Step}, "
            + $"weights {weights}; autoencoder and text encoder of the model {other.Digest}";
        manifest["denoiser"] = new JsonObject
        {
            ["file"] = file,
            ["sha256"] = WeightDigest.OfFile(Path.Combine(folder, file)),
            ["config"] = ToJson(config.Network),
            ["sigma_data"] = config.StepSettings.Edm.SigmaData,
            ["p_mean"] = config.StepSettings.Edm.PMean,
            ["p_std"] = config.StepSettings.Edm.PStd,
        };
        ModelFolder.WriteManifest(folder, manifest);
        foreach (ModelFile shared in other.Files.Where(shared => shared != other.Denoiser)
            .DistinctBy(shared => shared.Name))
        {
            File.CreateSymbolicLink(Path.Combine(folder, shared.Name), Path.GetFullPath(other.PathOf(shared)));
        }

        return ModelFolder.Open(folder);
    }

    private static long LengthOf(string path)
    {
        using SafeFileHandle file = File.OpenHandle(path);
        return RandomAccess.GetLength(file);
    }

    private static JsonNode ToJson(MicroDiTConfig config)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            config.WriteJson(writer);
        }

        return JsonNode.Parse(stream.ToArray())!;
    }

    private async Task<PublishedModel> StoreAsync(
        Publication publication, ModelFolder own, string weights, CancellationToken cancellation)
    {
        string manifest = Path.Combine(own.Path, ModelFolder.FileName);
        (PublishedFile File, string Path)[] files =
        [
            .. own.Files.DistinctBy(file => file.Name).Select(file => (
                new PublishedFile(file.Name, file.Sha256, LengthOf(own.PathOf(file))), own.PathOf(file))),
            (new PublishedFile(ModelFolder.FileName, own.Digest, LengthOf(manifest)), manifest),
        ];
        var model = new PublishedModel
        {
            Digest = new ModelDigest(own.Digest),
            Name = own.Name,
            Files = [.. files.Select(file => file.File)],
            Origin = new ModelOrigin(publication.Run, publication.Stage, publication.Checkpoint.Step, weights),
            Base = new ModelDigest(publication.Base.Digest),
            Owner = Guid.NewGuid().ToString("N"),
            PublishedAt = clock.GetUtcNow(),
        };
        try
        {
            foreach ((PublishedFile file, string path) in files)
            {
                await using var stream = new FileStream(
                    path, FileMode.Open, FileAccess.Read, FileShare.Read, BufferBytes, FileOptions.Asynchronous);
                await blobs.PutAsync(
                    file.Blob, new BlobOwner(BlobOwnerType.Model, model.Owner), stream, stream.Length, cancellation);
            }

            return model;
        }
        catch
        {
            await ReleaseAsync(model);
            throw;
        }
    }
}

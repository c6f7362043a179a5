// The storage of checkpoints in the blob store.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Grains.Training;

/// <summary>Stores parts of checkpoints and reads whole ones.</summary>
/// <param name="blobs">The blob store.</param>
/// <param name="owner">The run, which owns the blobs.</param>
public sealed class CheckpointBlobs(IBlobStore blobs, BlobOwner owner)
{
    /// <summary>The blob name of a part.</summary>
    public static BlobName NameOf(CheckpointPart part) => BlobName.OfCluster(BlobKind.Checkpoint, part.Digest);

    /// <summary>Stores a part.</summary>
    public async Task PutAsync(CheckpointPart part, byte[] bytes, CancellationToken cancellation)
    {
        using var stream = new MemoryStream(bytes, writable: false);
        await blobs.PutAsync(NameOf(part), owner, stream, bytes.Length, cancellation);
    }

    /// <summary>Reads a whole checkpoint.</summary>
    /// <param name="manifest">The checkpoint.</param>
    /// <param name="names">Names of the vectors to read.</param>
    /// <param name="parameters">Number of weights, P.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="InvalidDataException">A part is missing, or belongs to another network.</exception>
    public async Task<TrainingState> ReadAsync(
        CheckpointManifest manifest, IReadOnlyList<string> names, long parameters, CancellationToken cancellation)
    {
        var layout = new CheckpointLayout(parameters);
        if (manifest.Parts.Length != layout.Parts)
        {
            throw new InvalidDataException(
                $"The checkpoint of step {manifest.Step} has {manifest.Parts.Length} parts; a network of {parameters} "
                + $"weights has {layout.Parts}.");
        }

        StateVector[] vectors = [.. names.Select(name => new StateVector(name, new float[parameters]))];
        RunPosition? position = null;
        for (int part = 0; part < layout.Slices; part++)
        {
            byte[] bytes = await ReadAsync(manifest, part, cancellation);
            IReadOnlyDictionary<string, string> metadata = CheckpointFile.Read(bytes, part, vectors);
            position ??= CheckpointFile.PositionOf(metadata);
        }

        // The records of earlier steps are already committed, so a restored state begins without records.
        return new TrainingState(
            position!, manifest.IsPlanned ? manifest.Step : 0, vectors, [], manifest.Parts[^1].Digest);
    }

    /// <summary>Names of a file of step records and of all earlier ones, the newest first.</summary>
    /// <param name="newest">SHA-256 of the newest file.</param>
    /// <exception cref="InvalidDataException">A file is missing, or does not name the one before it.</exception>
    public async IAsyncEnumerable<BlobName> RecordsAsync(string newest)
    {
        byte[] begin = new byte[StepRecord.LinkBytesMax];
        for (string? digest = newest; digest is not null;)
        {
            BlobName name = BlobName.OfCluster(BlobKind.Checkpoint, digest);
            yield return name;
            await using BlobContent content = await blobs.OpenAsync(name, new BlobRange(0, begin.Length), default)
                ?? throw new InvalidDataException($"A file of step records is not in the blob store: {name}.");
            digest = StepRecord.ReadPrevious(
                begin.AsSpan(0, await content.Stream.ReadAtLeastAsync(begin, begin.Length, throwOnEndOfStream: false)));
        }
    }

    private async Task<byte[]> ReadAsync(CheckpointManifest manifest, int part, CancellationToken cancellation)
    {
        CheckpointPart named = manifest.Parts[part];
        await using BlobContent content = await blobs.OpenAsync(NameOf(named), default, cancellation)
            ?? throw new InvalidDataException(
                $"Part {part} of the checkpoint of step {manifest.Step} is not in the blob store: {NameOf(named)}.");
        byte[] bytes = new byte[named.Length];
        await content.Stream.ReadExactlyAsync(bytes, cancellation);
        return await content.Stream.ReadAsync(new byte[1], cancellation) == 0 ? bytes : throw new InvalidDataException(
            $"Part {part} of the checkpoint of step {manifest.Step} is longer than {named.Length} bytes.");
    }
}

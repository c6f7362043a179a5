// The export of a committed checkpoint to a file from which single-process training can resume.
using System.Collections.Immutable;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Training;

/// <summary>Writes checkpoints from the blob store to files.</summary>
/// <param name="blobs">The blob store.</param>
internal sealed class CheckpointExport(IBlobStore blobs)
{
    private const int BufferBytes = 1 << 20;

    /// <summary>
    /// Writes a checkpoint into a stage's folder, under the name that single-process training gives it.
    /// </summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="folder">The stage's folder.</param>
    /// <param name="cancellation">Cancels the export; no file is left then.</param>
    /// <returns>The file's path.</returns>
    /// <exception cref="RefusedFileException">
    /// The folder already has a checkpoint of that step or a later one.
    /// </exception>
    /// <exception cref="InvalidDataException">A part is missing from the blob store, or is damaged.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public async Task<string> WriteAsync(CheckpointManifest checkpoint, string folder, CancellationToken cancellation)
    {
        if (CheckpointStore.NewestStep(folder) is { } newest && newest >= checkpoint.Step)
        {
            throw new RefusedFileException(
                folder, "checkpoints",
                $"the folder has a checkpoint of step {newest}, so the run's last checkpoint, of step "
                + $"{checkpoint.Step}, would not be the newest. Move the existing checkpoint away, or export to "
                + "a folder without it.");
        }

        string[] names = [.. checkpoint.Vectors.Order(StringComparer.Ordinal)];
        ImmutableArray<CheckpointPart> slices = checkpoint.Parts[..^1]; // The last part is the file of step records.
        Dictionary<string, string> metadata = [];
        long[] headers = new long[slices.Length];
        long parameters = 0;
        for (int i = 0; i < slices.Length; i++)
        {
            (headers[i], Dictionary<string, string> own) = await HeaderAsync(slices[i], i, cancellation);
            metadata = i == 0 ? own : metadata;
            parameters += CountOf(slices[i], headers[i], names.Length);
        }

        metadata.Remove(CheckpointFile.SliceKey);
        metadata.Remove(CheckpointFile.PlannedKey);
        Directory.CreateDirectory(folder);
        string path = CheckpointStore.PathOf(folder, checkpoint.Step, checkpoint.IsPlanned);
        using var writer = new SafeTensorsWriter(
            path, names.Select(name => new TensorInfo(name, ElementType.Float32, [parameters])), metadata);
        byte[] buffer = new byte[BufferBytes];
        foreach (string name in writer.Order.Select(info => info.Name))
        {
            for (int i = 0; i < slices.Length; i++)
            {
                long bytes = CountOf(slices[i], headers[i], names.Length) * sizeof(float);
                await using BlobContent content = await OpenAsync(
                    slices[i], new BlobRange(headers[i] + (Array.IndexOf(names, name) * bytes), bytes), cancellation);
                long left = bytes;
                while (left > 0)
                {
                    Memory<byte> piece = buffer.AsMemory(0, (int)Math.Min(left, buffer.Length));
                    await content.Stream.ReadExactlyAsync(piece, cancellation);
                    writer.Append(name, piece.Span);
                    left -= piece.Length;
                }
            }
        }

        writer.Commit();
        return path;
    }

    private static long CountOf(CheckpointPart slice, long header, int vectors) =>
        (slice.Length - header) / (vectors * sizeof(float));

    // Returns the number of bytes before the data, and the metadata.
    private async Task<(long Bytes, Dictionary<string, string> Metadata)> HeaderAsync(
        CheckpointPart slice, int part, CancellationToken cancellation)
    {
        byte[] begin = await ReadAsync(slice, new BlobRange(0, sizeof(long)), cancellation);
        int length = CheckpointFile.HeaderLength(begin, slice.Length, part);
        byte[] header = await ReadAsync(slice, new BlobRange(sizeof(long), length), cancellation);
        return (sizeof(long) + length, CheckpointFile.MetadataOf(header, part));
    }

    private async Task<byte[]> ReadAsync(CheckpointPart slice, BlobRange range, CancellationToken cancellation)
    {
        await using BlobContent content = await OpenAsync(slice, range, cancellation);
        byte[] bytes = new byte[range.Length!.Value];
        await content.Stream.ReadExactlyAsync(bytes, cancellation);
        return bytes;
    }

    private async Task<BlobContent> OpenAsync(CheckpointPart slice, BlobRange range, CancellationToken cancellation) =>
        await blobs.OpenAsync(BlobName.OfCluster(BlobKind.Checkpoint, slice.Digest), range, cancellation)
        ?? throw new InvalidDataException($"{slice.Digest}, a part of the checkpoint, is not in the blob store.");
}

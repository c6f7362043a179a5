// The steps of a stage, as its committed checkpoints record them. Each file of step records names the file before it.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Training.Checkpoints;
using Microsoft.Extensions.Caching.Memory;

namespace Atelier.Silo.Training;

/// <summary>Reads step records from the blob store. Safe for concurrent use.</summary>
/// <param name="blobs">The blob store.</param>
internal sealed class StepHistory(IBlobStore blobs) : IDisposable
{
    // Maximum number of steps in memory.
    private const int CachedMax = 1_000_000;

    private readonly MemoryCache _files = new(new MemoryCacheOptions { SizeLimit = CachedMax });

    /// <summary>Returns a stage's steps from a step on, in order, without the indices of their samples.</summary>
    /// <param name="newest">SHA-256 of the newest file of step records; null if there is none.</param>
    /// <param name="from">The first step to return.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="InvalidDataException">A file is missing or damaged.</exception>
    public async Task<IReadOnlyList<StepRecord>> ReadAsync(string? newest, long from, CancellationToken cancellation)
    {
        var files = new Stack<StepRecord[]>();
        for (string? digest = newest; digest is not null;)
        {
            File file = _files.TryGetValue(digest, out File? known) ? known! : await ReadAsync(digest, cancellation);
            files.Push(file.Steps);
            digest = file.Steps.Length > 0 && file.Steps[0].Step <= from ? null : file.Previous;
        }

        return [.. files.SelectMany(steps => steps).Where(step => step.Step >= from)];
    }

    /// <inheritdoc/>
    public void Dispose() => _files.Dispose();

    private async Task<File> ReadAsync(string digest, CancellationToken cancellation)
    {
        await using BlobContent content = await blobs.OpenAsync(
            BlobName.OfCluster(BlobKind.Checkpoint, digest), default, cancellation)
            ?? throw new InvalidDataException($"The file of step records {digest} is not in the blob store.");
        using var bytes = new MemoryStream();
        await content.Stream.CopyToAsync(bytes, cancellation);
        (IReadOnlyList<StepRecord> records, string? previous) = StepRecord.Read(
            bytes.GetBuffer().AsSpan(0, (int)bytes.Length));
        var file = new File([.. records.Select(record => record with { Samples = [] })], previous);
        return _files.Set(digest, file, new MemoryCacheEntryOptions { Size = file.Steps.Length + 1 });
    }

    private sealed record File(StepRecord[] Steps, string? Previous);
}

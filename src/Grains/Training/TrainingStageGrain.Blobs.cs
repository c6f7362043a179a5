// The part of a stage's manager that decides which blobs the stage needs: the parts of kept checkpoints, the sheets of
// panels, and all files of step records, each of which names the one before it.
using System.Collections.Immutable;
using Atelier.Contracts;
using Atelier.Training.Checkpoints;

namespace Atelier.Grains.Training;

internal sealed partial class TrainingStageGrain
{
    // What the stage needs since it is over; null if nobody has asked yet.
    private HashSet<BlobName>? _needed;

    public async Task<bool> MayNeedAsync(BlobName blob)
    {
        // The trainers of an open stage store parts before they report them.
        if (_record is { IsOver: false })
        {
            return true;
        }

        await state.RereadOrDeactivateAsync(this);
        _needed ??= _record is null ? [] : await NeededAsync(_record);
        return _needed.Contains(blob);
    }

    private async Task<HashSet<BlobName>> NeededAsync(StageRecord record)
    {
        HashSet<BlobName> needed =
        [
            .. record.Checkpoints.SelectMany(one => one.Parts).Select(CheckpointBlobs.NameOf),
            .. record.Panels.Drawn.Select(panel => BlobName.OfCluster(BlobKind.Checkpoint, panel.Sheet)),
        ];
        if (record.Checkpoints.LastOrDefault() is { } last)
        {
            await foreach (BlobName records in new CheckpointBlobs(blobs, Owner).RecordsAsync(last.Parts[^1].Digest))
            {
                needed.Add(records);
            }
        }

        return needed;
    }

    // Releases the checkpoints that are not kept anymore.
    private async Task ReleaseAsync(ImmutableArray<CheckpointManifest> before)
    {
        ImmutableArray<CheckpointManifest> kept = _record!.Checkpoints;
        CheckpointManifest[] dropped = [.. before.Except(kept)];

        // The last part of each checkpoint is a file of step records that refers to the previous file. All of these
        // files are kept.
        HashSet<string> named = [.. kept.SelectMany(one => one.Parts).Select(part => part.Digest)];
        foreach (CheckpointPart part in dropped.SelectMany(one => one.Parts.SkipLast(1))
            .Where(part => !named.Contains(part.Digest)))
        {
            // If the release fails, the blob stays in the store: a sweep finds it once the run is over.
            await GrainCalls.TryAsync(() => blobs.ReleaseAsync(
                CheckpointBlobs.NameOf(part), Owner, CancellationToken.None));
        }
    }
}

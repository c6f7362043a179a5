// The release of a generation's blobs. A blob that a command reported or removed from the state, and that the new state
// does not need, stays listed in the state until it is released.
using Atelier.Contracts;
using Atelier.Contracts.Generations;

namespace Atelier.Grains.Generations;

/// <summary>Decides which blobs of a generation are released, and when.</summary>
internal static class GenerationBlobs
{
    /// <summary>All blobs in a report.</summary>
    public static IEnumerable<BlobName> Blobs(this StepReport report) =>
        report.Previews.Values.Concat(new[] { report.Snapshot }.OfType<BlobName>()).Concat(report.Untold);

    /// <summary>
    /// Refuses a stale report and remembers the blobs that it left in the store. A worker stops at its first refusal,
    /// so these are the blobs of one report. Equal work gives equal blobs, so they may be blobs that the state needs,
    /// or that the current claim will store.
    /// </summary>
    public static Outcome<ReportOutcome> Refuse(this GenerationState state, IEnumerable<BlobName> reported)
    {
        BlobName[] news = [.. reported.Except(state.Needed()).Except(state.ToRelease).Except(state.Late)];
        GenerationState next = state switch
        {
            _ when news.Length == 0 => state,
            { IsClaimed: true } => state with { Late = [.. state.Late, .. news] },
            _ => state with { ToRelease = [.. state.ToRelease, .. news] },
        };
        return new(next, ReportOutcome.Refused, next != state && state.IsOpen);
    }

    /// <summary>
    /// Adds the blobs to release to an outcome. During a claim, only blobs that the claim itself has superseded are
    /// released. When a new claim begins, and while nobody holds a claim, no worker can store a blob under a valid
    /// claim, so all other unneeded blobs are released too.
    /// </summary>
    public static Outcome<T> Releasing<T>(
        this Outcome<T> outcome, GenerationState before, IEnumerable<BlobName> reported)
    {
        GenerationState next = outcome.State;
        HashSet<BlobName> left = [.. next.ToRelease, .. before.Needed(), .. reported], late = [.. next.Late];
        if (!next.IsClaimed)
        {
            left.UnionWith(late);
        }
        else if (next.Epoch != before.Epoch)
        {
            late.UnionWith(left);
            left.Clear();
        }

        BlobName[] needed = [.. next.Needed()];
        left.ExceptWith(needed);
        late.ExceptWith(needed);
        late.ExceptWith(left);
        return left.SetEquals(next.ToRelease) && late.SetEquals(next.Late)
            ? outcome
            : outcome with { State = next with { ToRelease = [.. left], Late = [.. late] } };
    }
}

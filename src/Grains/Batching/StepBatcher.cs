// Continuous batching: pictures share network evaluations, and join, leave and stop between any two of them. Pictures
// with equal keys may share an evaluation, whatever their step and guidance; only the batcher decides which ones do. An
// evaluation is one pass of the network, as full as possible: owners take turns at leading a pass, each with its oldest
// picture, and the remaining rows go to other pictures. Pictures that wait lose nothing: if passes are full, evaluating
// all pictures at once would finish none of them sooner. The evaluator guarantees that a picture's bytes do not depend
// on the rest of the batch (passes of one fixed width).
namespace Atelier.Grains.Batching;

/// <summary>The batcher's view of a picture that is being denoised.</summary>
public interface IBatchedPicture
{
    /// <summary>An opaque key; pictures with equal keys can share an evaluation.</summary>
    string BatchKey { get; }

    /// <summary>Rows of a pass that the picture's next evaluation takes: two if it is guided, otherwise one.</summary>
    int Rows { get; }

    /// <summary>Whether the picture needs no further evaluation.</summary>
    bool IsDone { get; }
}

/// <summary>Decides which pictures share the next evaluation. Not thread-safe.</summary>
/// <typeparam name="T">The type of pictures.</typeparam>
/// <param name="slots">Maximum number of pictures at once.</param>
/// <param name="rows">Rows of a pass.</param>
public sealed class StepBatcher<T>(int slots, int rows)
    where T : class, IBatchedPicture
{
    // Oldest first.
    private readonly List<(T Picture, string Owner)> _members = [];
    private readonly Dictionary<(string Owner, string Key), long> _ledAt = [];
    private long _evaluations;

    /// <summary>Number of pictures in the batcher.</summary>
    public int Count => _members.Count;

    /// <summary>Number of free slots.</summary>
    public int Free => slots - _members.Count;

    /// <summary>Adds a picture. Returns false if no slot is free or the picture is already in the batcher.</summary>
    /// <param name="picture">The picture.</param>
    /// <param name="owner">The picture's owner; owners take turns at leading a pass.</param>
    public bool TryJoin(T picture, string owner)
    {
        if (Free <= 0 || Has(picture))
        {
            return false;
        }

        _members.Add((picture, owner));
        return true;
    }

    /// <summary>
    /// Removes a picture at once and discards its state. Its slot is free before the next evaluation.
    /// </summary>
    public void Drop(T picture) => _members.RemoveAll(member => ReferenceEquals(member.Picture, picture));

    /// <summary>
    /// The pictures that share the next evaluation, all with the same key. The pair of owner and key that has waited
    /// longest to lead does so with its oldest picture; other pictures follow as far as they fit, those of the
    /// longest-waiting owners first. Empty if there is nothing to evaluate.
    /// </summary>
    /// <param name="canContinue">Whether a picture can take part; if null, all can.</param>
    public IReadOnlyList<T> Next(Func<T, bool>? canContinue = null)
    {
        (T Picture, string Owner)[] open =
        [
            .. _members.Where(member => !member.Picture.IsDone && canContinue?.Invoke(member.Picture) != false).OrderBy(
                LedAt),
        ];
        IEnumerable<(string, string)> led = _members.Select(member => (member.Owner, member.Picture.BatchKey));
        foreach ((string, string) gone in _ledAt.Keys.Except(led).ToArray())
        {
            _ledAt.Remove(gone);
        }

        if (open.Length == 0)
        {
            return [];
        }

        (T lead, string owner) = open[0];
        _ledAt[(owner, lead.BatchKey)] = ++_evaluations;
        var batch = new List<T> { lead };
        int taken = lead.Rows;
        foreach ((T picture, _) in open.Skip(1))
        {
            if (picture.BatchKey == lead.BatchKey && taken + picture.Rows <= rows)
            {
                batch.Add(picture);
                taken += picture.Rows;
            }
        }

        return batch;
    }

    private bool Has(T picture) => _members.Exists(member => ReferenceEquals(member.Picture, picture));

    // The number of the evaluation that the member's owner and key last led. The sort by it is stable, so among equals
    // the oldest picture is first.
    private long LedAt((T Picture, string Owner) member) =>
        _ledAt.GetValueOrDefault((member.Owner, member.Picture.BatchKey));
}

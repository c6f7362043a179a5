// Continuous batching: pictures share network evaluations, and join, leave and stop between any two of them. Whatever
// their step and guidance, pictures with equal keys may share; which ones do is decided here and nowhere else. An
// evaluation is one pass of the network, as full as it can be: owners take turns at leading one, each with its oldest
// picture, and what room is left goes to others. Pictures that wait lose nothing by it: where passes are full, doing
// all at once would end none of them sooner. That a picture's bytes do not depend on its company is the evaluator's
// promise (passes of one fixed width).
namespace Atelier.Grains.Batching;

/// <summary>A picture being denoised, as a batcher sees it.</summary>
public interface IBatchedPicture
{
    /// <summary>Opaque: pictures with equal keys can share an evaluation.</summary>
    string BatchKey { get; }

    /// <summary>Rows of a pass that its next evaluation takes: two where it is guided.</summary>
    int Rows { get; }

    /// <summary>Whether it needs no more evaluations.</summary>
    bool IsDone { get; }
}

/// <summary>Who shares the next evaluation. Not for use by two threads at once.</summary>
/// <typeparam name="T">The pictures.</typeparam>
/// <param name="slots">Most pictures at a time.</param>
/// <param name="rows">Rows of a pass.</param>
public sealed class StepBatcher<T>(int slots, int rows)
    where T : class, IBatchedPicture
{
    // Oldest first.
    private readonly List<(T Picture, string Owner)> _members = [];
    private readonly Dictionary<(string Owner, string Key), long> _ledAt = [];
    private long _evaluations;

    /// <summary>Pictures in it.</summary>
    public int Count => _members.Count;

    /// <summary>Places left.</summary>
    public int Free => slots - _members.Count;

    /// <summary>Takes a picture in; false if it is full.</summary>
    /// <param name="picture">The picture.</param>
    /// <param name="owner">Whose it is: owners take turns.</param>
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
    /// Lets a picture go at once: nobody wants what it holds. Its slot is free before the next evaluation.
    /// </summary>
    public void Drop(T picture) => _members.RemoveAll(member => ReferenceEquals(member.Picture, picture));

    /// <summary>
    /// The pictures that share the next evaluation, all of one key: the oldest one of the owner and key that have
    /// waited longest for a lead, then others as far as they fit, first of those who have waited longest. Empty if
    /// there is nothing to evaluate.
    /// </summary>
    /// <param name="canGoOn">Whether a picture can take part; without it, all can.</param>
    public IReadOnlyList<T> Next(Func<T, bool>? canGoOn = null)
    {
        (T Picture, string Owner)[] open =
        [
            .. _members.Where(member => !member.Picture.IsDone && canGoOn?.Invoke(member.Picture) != false).OrderBy(
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

    // A stable sort by it keeps the oldest first among equals.
    private long LedAt((T Picture, string Owner) member) =>
        _ledAt.GetValueOrDefault((member.Owner, member.Picture.BatchKey));
}

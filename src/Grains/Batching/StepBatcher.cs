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

    /// <summary>
    /// Whether it stands between two steps, after the corrector: it can be stored, parked and left here.
    /// </summary>
    bool IsBetweenSteps { get; }

    /// <summary>Whether it needs no more evaluations.</summary>
    bool IsDone { get; }
}

/// <summary>Evaluates a network once for each of several pictures, and advances each of them.</summary>
/// <typeparam name="T">The pictures.</typeparam>
public interface IBatchEvaluator<in T>
    where T : IBatchedPicture
{
    /// <summary>One evaluation of all of them; they have equal keys.</summary>
    Task EvaluateAsync(IReadOnlyList<T> batch, CancellationToken cancellation);
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
    private readonly HashSet<T> _leaving = new(ReferenceEqualityComparer.Instance);
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
    /// Lets a picture go at its next step's end, or now if it stands there; it is then among those that left.
    /// </summary>
    public void Leave(T picture)
    {
        if (Has(picture))
        {
            _leaving.Add(picture);
        }
    }

    /// <summary>
    /// Lets a picture go at once: nobody wants what it holds. Its slot is free before the next evaluation.
    /// </summary>
    public void Drop(T picture)
    {
        _members.RemoveAll(member => ReferenceEquals(member.Picture, picture));
        _leaving.Remove(picture);
    }

    /// <summary>
    /// Takes out the pictures that are done or leave here, and gives them. To be asked before each evaluation.
    /// </summary>
    public IReadOnlyList<T> Departures()
    {
        T[] departing =
        [
            .. _members.Select(member => member.Picture).Where(
                picture => picture.IsDone || (_leaving.Contains(picture) && picture.IsBetweenSteps)),
        ];
        foreach (T picture in departing)
        {
            Drop(picture);
        }

        return departing;
    }

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

    /// <summary>Evaluates once, if there is anything to evaluate; gives who took part.</summary>
    public async Task<IReadOnlyList<T>> EvaluateOnceAsync(IBatchEvaluator<T> evaluator, CancellationToken cancellation)
    {
        IReadOnlyList<T> batch = Next();
        if (batch.Count > 0)
        {
            await evaluator.EvaluateAsync(batch, cancellation);
        }

        return batch;
    }

    private bool Has(T picture) => _members.Exists(member => ReferenceEquals(member.Picture, picture));

    // A stable sort by it keeps the oldest first among equals.
    private long LedAt((T Picture, string Owner) member) =>
        _ledAt.GetValueOrDefault((member.Owner, member.Picture.BatchKey));
}

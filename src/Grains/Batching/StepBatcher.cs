// Continuous batching: pictures share network evaluations, and join, leave and stop between any two of them. Whatever
// their step and guidance, pictures with equal keys may share; which ones do is decided here and nowhere else. That a
// picture's bytes do not depend on its company is the evaluator's promise (passes of one fixed width).
namespace Atelier.Grains.Batching;

/// <summary>A picture being denoised, as a batcher sees it.</summary>
public interface IBatchedPicture
{
    /// <summary>Opaque: pictures with equal keys can share an evaluation.</summary>
    string BatchKey { get; }

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
public sealed class StepBatcher<T>(int slots)
    where T : class, IBatchedPicture
{
    private readonly List<T> _members = [];
    private readonly Dictionary<string, long> _servedAt = new(StringComparer.Ordinal);
    private readonly HashSet<T> _leaving = new(ReferenceEqualityComparer.Instance);
    private long _evaluations;

    /// <summary>Pictures in it.</summary>
    public int Count => _members.Count;

    /// <summary>Places left.</summary>
    public int Free => slots - _members.Count;

    /// <summary>Takes a picture in; false if it is full.</summary>
    public bool TryJoin(T picture)
    {
        if (Free <= 0 || _members.Contains(picture))
        {
            return false;
        }

        _members.Add(picture);
        return true;
    }

    /// <summary>
    /// Lets a picture go at its next step's end, or now if it stands there; it is then among those that left.
    /// </summary>
    public void Leave(T picture)
    {
        if (_members.Contains(picture))
        {
            _leaving.Add(picture);
        }
    }

    /// <summary>
    /// Lets a picture go at once: nobody wants what it holds. Its slot is free before the next evaluation.
    /// </summary>
    public void Drop(T picture)
    {
        _members.Remove(picture);
        _leaving.Remove(picture);
    }

    /// <summary>
    /// Takes out the pictures that are done or leave here, and gives them. To be asked before each evaluation.
    /// </summary>
    public IReadOnlyList<T> Departures()
    {
        T[] departing = [.. _members.Where(picture => picture.IsDone || (_leaving.Contains(picture) && picture.IsBetweenSteps))];
        foreach (T picture in departing)
        {
            Drop(picture);
        }

        return departing;
    }

    /// <summary>
    /// The pictures that share the next evaluation: all of one key, that key's turn which waited longest. Empty if
    /// there is nothing to evaluate.
    /// </summary>
    public IReadOnlyList<T> Next()
    {
        string? key = null;
        foreach (T picture in _members)
        {
            if (!picture.IsDone && (key is null || ServedAt(picture.BatchKey) < ServedAt(key)))
            {
                key = picture.BatchKey;
            }
        }

        if (key is null)
        {
            return [];
        }

        _servedAt[key] = ++_evaluations;
        foreach (string gone in _servedAt.Keys.Where(k => _members.TrueForAll(picture => picture.BatchKey != k)).ToArray())
        {
            _servedAt.Remove(gone);
        }

        return [.. _members.Where(picture => picture.BatchKey == key && !picture.IsDone)];
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

    private long ServedAt(string key) => _servedAt.GetValueOrDefault(key);
}

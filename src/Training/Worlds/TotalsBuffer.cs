// A buffer for totals of steps that cannot be applied yet. A spectator fills it while its copy of the state is in
// transit, and a member while it catches up.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

/// <summary>Holds the totals of a few steps, slice by slice.</summary>
/// <typeparam name="T">Type of a slice's values.</typeparam>
/// <param name="stepsMax">Maximum number of steps held.</param>
internal sealed class TotalsBuffer<T>(int stepsMax)
    where T : class
{
    private readonly Dictionary<long, T?[]> _steps = [];

    /// <summary>Number of steps for which totals are held.</summary>
    public int Count => _steps.Count;

    /// <summary>The last step for which totals are held; -1 if there is none.</summary>
    public long Last => _steps.Count == 0 ? -1 : _steps.Keys.Max();

    /// <summary>Adds the total of a slice. Returns false if the buffer is full.</summary>
    public bool Add(TotalFrame<T> total)
    {
        if (!_steps.TryGetValue(total.Step, out T?[]? slices))
        {
            if (_steps.Count >= stepsMax)
            {
                return false;
            }

            _steps.Add(total.Step, slices = new T?[total.Slices]);
        }

        // Another world may cut the same step into another number of slices. Totals of the two worlds cannot be
        // combined.
        if (slices.Length != total.Slices)
        {
            if (IsWhole(slices))
            {
                return true;
            }

            _steps[total.Step] = slices = new T?[total.Slices];
        }

        slices[total.Slice] ??= total.Value;
        return true;
    }

    /// <summary>
    /// Removes and returns the totals of a step if those of all its slices are present; otherwise returns null.
    /// </summary>
    public ImmutableArray<T>? Take(long step) =>
        _steps.TryGetValue(step, out T?[]? slices) && IsWhole(slices) && _steps.Remove(step)
            ? [.. slices.OfType<T>()]
            : null;

    /// <summary>Returns the first step, from the given one on, whose totals are incomplete.</summary>
    public long FirstMissing(long step)
    {
        while (_steps.TryGetValue(step, out T?[]? slices) && IsWhole(slices))
        {
            step++;
        }

        return step;
    }

    /// <summary>Drops the totals of all steps before the given one.</summary>
    public void DropBefore(long step)
    {
        foreach (long old in _steps.Keys.Where(held => held < step).ToArray())
        {
            _steps.Remove(old);
        }
    }

    /// <summary>Drops the totals of a step and all later ones.</summary>
    public void DropFrom(long step)
    {
        foreach (long later in _steps.Keys.Where(held => held >= step).ToArray())
        {
            _steps.Remove(later);
        }
    }

    /// <summary>Drops all totals.</summary>
    public void Clear() => _steps.Clear();

    private static bool IsWhole(T?[] slices) => !slices.Contains(null);
}

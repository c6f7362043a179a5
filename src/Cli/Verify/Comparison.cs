// What a case found: every tensor compared, how far it was off, and what was allowed.
using System.Text.Json;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>
/// Compares results with what a case expects, under the case's own tolerances. A tolerance that nothing was compared
/// under is a failure of the case.
/// </summary>
public sealed class Comparison
{
    private readonly CaseFolder? _case;
    private readonly HashSet<string> _open = new(StringComparer.Ordinal);
    private readonly List<string> _failures = [];
    private double _worstShare = -1;

    /// <summary>
    /// Starts the comparison of a case; without a folder, of one whose runner brings its own expectations.
    /// </summary>
    public Comparison(CaseFolder? folder = null)
    {
        _case = folder;
        if (folder is not null && folder.Json.TryGetProperty("tolerance", out JsonElement tolerance))
        {
            _open.UnionWith(tolerance.EnumerateObject()
                .Where(t => t.Value.ValueKind != JsonValueKind.Number)
                .Where(t =>
                    t.Value.ValueKind != JsonValueKind.Object || !t.Value.TryGetProperty("information_only", out _))
                .Select(t => t.Name));
        }
    }

    /// <summary>Tensors and values compared so far.</summary>
    public int Compared { get; private set; }

    /// <summary>The error that came nearest to its tolerance, and the tolerance; exact comparisons have none.</summary>
    public (double Error, double Tolerance)? Worst { get; private set; }

    /// <summary>Something worth telling that does not decide the case.</summary>
    public string? Remark { get; set; }

    /// <summary>Whether the case could not be run here.</summary>
    public bool Skipped { get; private set; }

    /// <summary>What failed, one sentence each.</summary>
    public IReadOnlyList<string> Failures => _failures;

    /// <summary>Compares a tensor with the expected one of that name under its tolerance.</summary>
    public void Tensor(string name, Tensor actual)
    {
        using Tensor expected = _case!.Expected(name);
        // The reference carries captions with one dimension more, [B, 1, L, D].
        if (!actual.shape.Where(n => n != 1).SequenceEqual(expected.shape.Where(n => n != 1)))
        {
            _open.Remove(name);
            Fail($"{name} has shape [{string.Join(", ", actual.shape)}], not [{string.Join(", ", expected.shape)}]");
            return;
        }

        Numbers(name, CaseFolder.Numbers(actual), CaseFolder.Numbers(expected));
    }

    /// <summary>Compares numbers under the tolerance of that name.</summary>
    public void Numbers(string name, ReadOnlySpan<double> actual, ReadOnlySpan<double> expected)
    {
        _open.Remove(name);
        JsonElement tolerance = _case!.Json.Member("tolerance").Member(name);
        if (tolerance.TryGetProperty("exact", out _))
        {
            Equal(name, actual, expected);
            return;
        }

        (double maxAbs, double relL2) = Distance(actual, expected);
        double limit = tolerance.Member("max_abs").GetDouble();
        // A gradient may be right by either measure; everything else by its largest difference alone.
        if (!(maxAbs <= limit) && name.StartsWith("grad/", StringComparison.Ordinal)
            && tolerance.TryGetProperty("rel_l2", out JsonElement norm) && relL2 <= norm.GetDouble())
        {
            (maxAbs, limit) = (relL2, norm.GetDouble());
        }

        Within(name, maxAbs, limit);
    }

    /// <summary>Checks an error against its limit. An error that is no number fails.</summary>
    public void Within(string name, double error, double limit)
    {
        _open.Remove(name);
        Compared++;
        double share = error / limit;
        if (!(share <= _worstShare))
        {
            (_worstShare, Worst) = (double.IsNaN(share) ? double.PositiveInfinity : share, (error, limit));
        }

        if (!(error <= limit))
        {
            Fail($"{name} is off by {error:g3}, allowed are {limit:g3}");
        }
    }

    /// <summary>Compares values bit for bit.</summary>
    public void Equal<T>(string name, ReadOnlySpan<T> actual, ReadOnlySpan<T> expected)
        where T : IEquatable<T>
    {
        _open.Remove(name);
        Compared++;
        if (!actual.SequenceEqual(expected))
        {
            int at = actual.CommonPrefixLength(expected);
            Fail(actual.Length == expected.Length
                ? $"{name} differs at {at}: {actual[at]} instead of {expected[at]}"
                : $"{name} has {actual.Length} values, not {expected.Length}");
        }
    }

    /// <inheritdoc cref="Equal{T}(string, ReadOnlySpan{T}, ReadOnlySpan{T})"/>
    public void Equal<T>(string name, T[] actual, T[] expected)
        where T : IEquatable<T> => Equal(name, (ReadOnlySpan<T>)actual, expected);

    /// <summary>Checks one condition.</summary>
    public void Holds(string name, bool holds, string otherwise)
    {
        _open.Remove(name);
        Compared++;
        if (!holds)
        {
            Fail($"{name}: {otherwise}");
        }
    }

    /// <summary>Records a failure.</summary>
    public void Fail(string what) => _failures.Add(what);

    /// <summary>Says why the case cannot be run here.</summary>
    public void Skip(string why) => (Skipped, Remark) = (true, why);

    /// <summary>Fails for every tolerance that nothing was compared under.</summary>
    public void Close()
    {
        if (Skipped)
        {
            return;
        }

        foreach (string name in _open.Order(StringComparer.Ordinal))
        {
            Fail($"{name} was not compared");
        }

        if (Compared == 0 && _failures.Count == 0)
        {
            Fail("nothing was compared");
        }
    }

    /// <summary>Largest absolute difference, and the 2-norm of the difference over that of the expected.</summary>
    public static (double MaxAbs, double RelL2) Distance(ReadOnlySpan<double> actual, ReadOnlySpan<double> expected)
    {
        double largest = actual.Length == expected.Length ? 0 : double.NaN, difference = 0, size = 0;
        for (int i = 0; i < expected.Length && i < actual.Length; i++)
        {
            // Equal infinities are no difference; every other infinity or NaN makes the result NaN or infinite.
            double d = actual[i].Equals(expected[i]) ? 0 : Math.Abs(actual[i] - expected[i]);
            largest = Math.Max(largest, d); // Math.Max carries a NaN on.
            difference += d * d;
            size += expected[i] * expected[i];
        }

        return (largest, Math.Sqrt(difference) / Math.Max(Math.Sqrt(size), double.Epsilon));
    }
}

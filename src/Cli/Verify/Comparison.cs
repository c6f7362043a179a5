// The comparison of a case: every tensor compared, its error, and its tolerance.
using System.Text.Json;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>
/// Compares results with a case's expectations, under the case's tolerances. A tolerance that was never used is a
/// failure of the case.
/// </summary>
public sealed class Comparison
{
    private readonly CaseFolder? _case;
    private readonly HashSet<string> _open = new(StringComparer.Ordinal);
    private readonly List<string> _failures = [];
    private double _worstShare = -1;

    /// <summary>
    /// Starts the comparison of a case. Without a folder, the function that runs the case supplies the expected values.
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

    /// <summary>Number of tensors and values compared so far.</summary>
    public int Compared { get; private set; }

    /// <summary>
    /// The error that is largest relative to its tolerance, and that tolerance; null if all comparisons were exact.
    /// </summary>
    public (double Error, double Tolerance)? Worst { get; private set; }

    /// <summary>A remark that does not affect the result.</summary>
    public string? Remark { get; set; }

    /// <summary>Whether the case could not be run here.</summary>
    public bool Skipped { get; private set; }

    /// <summary>The failures, one sentence each.</summary>
    public IReadOnlyList<string> Failures => _failures;

    /// <summary>
    /// Compares a tensor with the expected tensor of the same name, under the tolerance of that name.
    /// </summary>
    public void Tensor(string name, Tensor actual)
    {
        using Tensor expected = _case!.Expected(name);
        // The reference's captions have an extra dimension, [B, 1, L, D].
        if (!actual.shape.Where(n => n != 1).SequenceEqual(expected.shape.Where(n => n != 1)))
        {
            _open.Remove(name);
            Fail($"{name} has shape [{string.Join(", ", actual.shape)}], not [{string.Join(", ", expected.shape)}]");
            return;
        }

        Numbers(name, CaseFolder.Numbers(actual), CaseFolder.Numbers(expected));
    }

    /// <summary>Compares numbers under the tolerance of the given name.</summary>
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
        // A gradient passes by either measure; everything else by its largest difference only.
        if (!(maxAbs <= limit) && name.StartsWith("grad/", StringComparison.Ordinal)
            && tolerance.TryGetProperty("rel_l2", out JsonElement norm) && relL2 <= norm.GetDouble())
        {
            (maxAbs, limit) = (relL2, norm.GetDouble());
        }

        Within(name, maxAbs, limit);
    }

    /// <summary>Checks an error against its limit. NaN fails.</summary>
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
            Fail($"{name} is off by {error:g3}; the tolerance is {limit:g3}");
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

    /// <summary>Checks a condition; <paramref name="otherwise"/> says what is wrong if it does not hold.</summary>
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

    /// <summary>Marks the case as skipped, with the reason.</summary>
    public void Skip(string why) => (Skipped, Remark) = (true, why);

    /// <summary>Records a failure for every unused tolerance.</summary>
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

    /// <summary>
    /// Largest absolute difference, and the 2-norm of the difference relative to that of the expected values.
    /// </summary>
    public static (double MaxAbs, double RelL2) Distance(ReadOnlySpan<double> actual, ReadOnlySpan<double> expected)
    {
        double largest = actual.Length == expected.Length ? 0 : double.NaN, difference = 0, size = 0;
        for (int i = 0; i < expected.Length && i < actual.Length; i++)
        {
            // Equal infinities count as equal; any other infinity or NaN makes the result NaN or infinite.
            double d = actual[i].Equals(expected[i]) ? 0 : Math.Abs(actual[i] - expected[i]);
            largest = Math.Max(largest, d); // Math.Max propagates NaN.
            difference += d * d;
            size += expected[i] * expected[i];
        }

        return (largest, Math.Sqrt(difference) / Math.Max(Math.Sqrt(size), double.Epsilon));
    }
}

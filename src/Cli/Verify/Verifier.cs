// The discovery of cases in a tree with the layout of the reference data, and their execution one after another.
using System.Diagnostics;
using System.Text.Json;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>The result of a case.</summary>
/// <param name="Name">Path of the case below the tree's root.</param>
/// <param name="Kind">Kind of the case.</param>
/// <param name="Compared">Number of tensors and values compared.</param>
/// <param name="Error">The error that is largest relative to its tolerance; null if all comparisons were exact.</param>
/// <param name="Tolerance">The tolerance of that error.</param>
/// <param name="Seconds">Duration in seconds.</param>
/// <param name="Failures">The failures; empty if the case passed.</param>
/// <param name="Remark">A remark that does not affect the result.</param>
/// <param name="Skipped">Whether the case was skipped because it needs a missing file, which the remark names.</param>
public sealed record CaseResult(
    string Name, string Kind, int Compared, double? Error, double? Tolerance, double Seconds,
    IReadOnlyList<string> Failures, string? Remark, bool Skipped)
{
    /// <summary>Whether the case was run and passed.</summary>
    public bool Passed => Failures.Count == 0 && !Skipped;
}

/// <summary>A case that can be run.</summary>
/// <param name="Name">Path below the tree's root.</param>
/// <param name="Kind">Kind of the case.</param>
/// <param name="Run">Runs the case and compares the results.</param>
/// <param name="Open">Opens the case's folder; null if the case has none.</param>
internal sealed record FoundCase(string Name, string Kind, Action<Comparison> Run, Func<CaseFolder>? Open = null);

/// <summary>Runs the cases of a tree: topic folder / case folder / case.json, or any part of such a tree.</summary>
public static class Verifier
{
    // Suffix of the file that describes a data set, after the name of the data set's folder.
    private const string ExpectedSuffix = ".expected.json";

    private static readonly CaseKind[] s_kinds =
    [
        .. DitCases.Kinds, .. TrainingCases.Kinds, .. SamplerCases.Kinds, .. PictureCases.Kinds,
    ];

    /// <summary>
    /// Runs every case under <paramref name="root"/> and yields each result as soon as it is available.
    /// </summary>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    public static IEnumerable<CaseResult> Run(string root)
    {
        var folder = new DirectoryInfo(root);
        if (!folder.Exists)
        {
            throw new DirectoryNotFoundException($"There is no folder {root}.");
        }

        return Find(folder, folder.Name, isRoot: true).Select(RunOne);
    }

    private static CaseResult RunOne(FoundCase found)
    {
        long start = Stopwatch.GetTimestamp();
        var check = new Comparison();
        try
        {
            using var noGradients = no_grad();
            using var scope = NewDisposeScope();
            using CaseFolder? folder = found.Open?.Invoke();
            check = new Comparison(folder);
            found.Run(check);
            check.Close();
        }
#pragma warning disable CA1031 // Any error of one case must not prevent the others from running.
        catch (Exception error)
#pragma warning restore CA1031
        {
            check.Fail(Sentence(error));
        }

        return new CaseResult(
            found.Name, found.Kind, check.Compared, check.Worst?.Error, check.Worst?.Tolerance,
            Stopwatch.GetElapsedTime(start).TotalSeconds, check.Failures, check.Remark, check.Skipped);
    }

    // An unreadable list of cases counts as a failed case; the other cases are still found.
    private static IEnumerable<FoundCase> Find(DirectoryInfo folder, string name, bool isRoot)
    {
        try
        {
            return [.. Look(folder, name, isRoot)];
        }
        catch (Exception error) when (IsOfFile(error))
        {
            return [Unknown(name, Sentence(error))];
        }
    }

    // Names are paths below the root. The root itself is part of a name only if it is a case or lists cases in a file.
    private static IEnumerable<FoundCase> Look(DirectoryInfo folder, string name, bool isRoot)
    {
        if (File.Exists(Path.Combine(folder.FullName, "case.json")))
        {
            return [WithCaseFile(folder, name)];
        }

        if (File.Exists(Path.Combine(folder.FullName, "table.json")))
        {
            return FileCases.Checkpoints(folder, name);
        }

        string expected = Expected(folder);
        if (File.Exists(expected))
        {
            return IsListOfDamaged(expected)
                ? FileCases.Damaged(expected, name) : [FileCases.DataSet(folder, expected, name)];
        }

        if (isRoot && folder.Parent is { } parent && File.Exists(Expected(parent)) && IsListOfDamaged(Expected(parent)))
        {
            return FileCases.Damaged(Expected(parent), name, Path.TrimEndingDirectorySeparator(folder.FullName));
        }

        if (folder.Name == "keys_and_shapes")
        {
            return folder.EnumerateFiles("*.json").OrderBy(f => f.Name, StringComparer.Ordinal)
                .Select(file => FileCases.Keys(file, $"{name}/{Path.GetFileNameWithoutExtension(file.Name)}"));
        }

        // A file of expectations is a case even if its data set is missing.
        DirectoryInfo[] children =
        [
            .. folder.EnumerateDirectories()
                .Concat(folder.EnumerateFiles("*" + ExpectedSuffix)
                    .Select(file => new DirectoryInfo(file.FullName[..^ExpectedSuffix.Length])))
                .DistinctBy(child => child.Name).OrderBy(child => child.Name, StringComparer.Ordinal),
        ];
        if (children.Length > 0)
        {
            return children.SelectMany(
                child => Find(child, isRoot ? child.Name : $"{name}/{child.Name}", isRoot: false));
        }

        // Other files are support data, such as a vocabulary, and not cases.
        return !isRoot && !folder.EnumerateFiles().Any(file => file.Extension is ".json" or ".safetensors")
            ? []
            : [Unknown(name, "the folder does not contain a case of a known kind")];
    }

    private static string Expected(DirectoryInfo folder) =>
        Path.TrimEndingDirectorySeparator(folder.FullName) + ExpectedSuffix;

    private static bool IsListOfDamaged(string expected)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(expected));
        return json.RootElement.Has("rows");
    }

    private static FoundCase WithCaseFile(DirectoryInfo folder, string name)
    {
        CaseKind? kind;
        using (JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder.FullName, "case.json"))))
        {
            kind = s_kinds.FirstOrDefault(k => k.Fits(json.RootElement));
        }

        if (kind is null)
        {
            return Unknown(name, "case.json is not of a known kind");
        }

        // The folder is opened when the case runs, so that a damaged file fails only this case.
        CaseFolder? opened = null;
        return new FoundCase(
            name, kind.Name, check => kind.Run(opened!, check), () => opened = new CaseFolder(folder.FullName));
    }

    private static FoundCase Unknown(string name, string problem) => new(name, "unknown", check => check.Fail(problem));

    private static bool IsOfFile(Exception error) =>
        error is JsonException or InvalidOperationException or IndexOutOfRangeException or FormatException
            or KeyNotFoundException or IOException or UnauthorizedAccessException;

    private static string Sentence(Exception error) => error switch
    {
        JsonException json => $"its JSON is damaged at line {json.LineNumber + 1}",
        _ when error.Source?.StartsWith("System.Text.Json", StringComparison.Ordinal) == true =>
            $"its JSON has a value of the wrong kind: {error.Message}",
        _ => error.Message.Split('\n')[0],
    };
}

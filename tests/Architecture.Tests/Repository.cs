// Access to the repository's files for the tests of this project.
using System.Runtime.CompilerServices;

namespace Atelier.Architecture.Tests;

internal static class Repository
{
    // Output of builds, tools and runs; the reference data is not text of this project.
    private static readonly string[] s_skipped =
        [".git", ".dotnet", ".nuget", ".vs", ".vscode", ".idea", "artifacts", "runs", "bin", "obj", "tests/reference"];

    public static string Root { get; } = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Here())!, "..", ".."));

    /// <summary>Projects under <c>src</c>.</summary>
    public static string[] Projects { get; } =
        [.. Directory.GetDirectories(Path.Combine(Root, "src")).Select(folder => Path.GetFileName(folder)).Order()];

    /// <summary>Paths, relative to the root, of the files with one of these endings.</summary>
    public static IEnumerable<string> Files(params string[] endings) =>
        Walk("").Where(file => endings.Any(ending => file.EndsWith(ending, StringComparison.Ordinal))).Order();

    public static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    public static string[] Lines(string file) => File.ReadAllLines(Path.Combine(Root, file));

    /// <summary>A project's assembly in the output of the build that these tests belong to.</summary>
    public static string Assembly(string project)
    {
        // .../bin/Architecture.Tests/release/ beside .../bin/Model/release/
        var mine = new DirectoryInfo(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory));
        return Path.Combine(mine.Parent!.Parent!.FullName, project, mine.Name, $"Atelier.{project}.dll");
    }

    private static IEnumerable<string> Walk(string folder)
    {
        string full = Path.Combine(Root, folder);
        IEnumerable<string> here = Directory.EnumerateFiles(full)
            .Select(file => Path.Combine(folder, Path.GetFileName(file)));
        return here.Concat(Directory.EnumerateDirectories(full)
            .Select(sub => Path.Combine(folder, Path.GetFileName(sub)))
            .Where(
                sub => !s_skipped.Contains(sub) && !s_skipped.Contains(Path.GetFileName(sub)) && !IsIgnoredModel(sub))
            .SelectMany(Walk));
    }

    // Of the model folders, git keeps only those with a card.
    private static bool IsIgnoredModel(string folder) =>
        Path.GetDirectoryName(folder) == "models" && !File.Exists(Path.Combine(Root, folder, "README.md"));

    private static string Here([CallerFilePath] string path = "") => path;
}

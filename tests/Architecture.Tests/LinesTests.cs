// Goal: lines can be read without scrolling, and files of the program at a sitting. Method: checks the length of every
// line of code, scripts and documents, and counts the lines of every source file.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class LinesTests
{
    private const int ColumnsMax = 120;

    private const int LinesMax = 400;

    // Data as text, which nobody reads from top to bottom.
    private static readonly string[] s_tables = ["src/Model/Clip/TextTables.cs"];

    [Fact]
    public void Lines_FitTheColumns()
    {
        string[] found =
        [
            .. Repository.Files(
                    ".cs", ".py", ".sh", ".md", ".js", ".mjs", ".css", ".html", ".go", ".tpl", ".yaml", ".csproj",
                    ".props", ".targets", "atelier", ".ci/run")
                // Programs write the models' cards and the chart's renderings.
                .Where(file => !file.StartsWith("models/", StringComparison.Ordinal)
                    && !file.StartsWith("tests/helm/golden/", StringComparison.Ordinal))
                .SelectMany(file => Repository.Lines(file).Index()
                    .Where(line => Columns(file, line.Item) > ColumnsMax)
                    .Select(line => $"  {file}:{line.Index + 1}")),
        ];
        Assert.True(
            found.Length == 0,
            $"{found.Length} lines have more than {ColumnsMax} columns:\n{string.Join('\n', found.Take(50))}");
    }

    [Fact]
    public void SourceFiles_AreShort()
    {
        string[] found =
        [
            .. Repository.Files(".cs", ".js", ".css", ".html")
                .Where(file => file.StartsWith("src/", StringComparison.Ordinal) && !s_tables.Contains(file))
                .Select(file => (File: file, Lines: Repository.Lines(file).Length))
                .Where(file => file.Lines > LinesMax).Select(file => $"  {file.File}: {file.Lines}"),
        ];
        Assert.True(found.Length == 0, $"split along an idea, at most {LinesMax} lines:\n{string.Join('\n', found)}");
        Assert.All(s_tables, file => Assert.InRange(Repository.Lines(file).Length, LinesMax, int.MaxValue));
    }

    // Web addresses cannot be broken.
    private static int Columns(string file, string line) =>
        file.EndsWith(".md", StringComparison.Ordinal) ? Address().Replace(line, "").Length : line.Length;

    [GeneratedRegex(@"https?://\S+")]
    private static partial Regex Address();
}

// Goal: a line is read without scrolling. Method: the length of every line of code, scripts and documents.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class LinesTests
{
    private const int ColumnsMax = 120;

    /// <summary>Lines over the limit that are still there, by file or folder. A count may only fall.</summary>
    private static readonly Dictionary<string, int> s_longNotYet = new(StringComparer.Ordinal)
    {
        ["docs/log.md"] = 350,
    };

    [Fact]
    public void Lines_FitTheColumns()
    {
        (string File, int Line)[] found =
        [
            .. Repository.Files(
                    ".cs", ".py", ".sh", ".md", ".js", ".css", ".html", ".csproj", ".props", ".targets", "atelier",
                    ".ci/run")
                // The models' cards are written by the program.
                .Where(file => !file.StartsWith("models/", StringComparison.Ordinal))
                .SelectMany(file => Repository.Lines(file).Index()
                    .Where(line => Columns(file, line.Item) > ColumnsMax).Select(line => (file, line.Index + 1))),
        ];
        foreach (IGrouping<string, (string File, int Line)> group in found.GroupBy(line =>
            s_longNotYet.Keys.FirstOrDefault(name => line.File.StartsWith(name, StringComparison.Ordinal)) ?? ""))
        {
            Assert.True(
                group.Count() <= s_longNotYet.GetValueOrDefault(group.Key),
                $"{group.Count()} lines of {(group.Key is "" ? "all files" : group.Key)} have more than {ColumnsMax} "
                + $"columns, {s_longNotYet.GetValueOrDefault(group.Key)} are allowed:\n"
                + string.Join('\n', group.Take(50).Select(line => $"  {line.File}:{line.Line}")));
        }
    }

    // Rows of tables cannot be broken, nor can an address; a link counts as the text that it shows.
    private static int Columns(string file, string line)
    {
        if (!file.EndsWith(".md", StringComparison.Ordinal))
        {
            return line.Length;
        }

        return line.StartsWith('|') ? 0 : Address().Replace(LinkTarget().Replace(line, "]"), "").Length;
    }

    [GeneratedRegex(@"\]\([^)]*\)")]
    private static partial Regex LinkTarget();

    [GeneratedRegex(@"https?://\S+")]
    private static partial Regex Address();
}

// Goal: lines can be read without scrolling. Method: checks the length of every line of code, scripts and documents.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class LinesTests
{
    private const int ColumnsMax = 120;

    /// <summary>Lines over the limit that remain, by file or folder. A count may only fall.</summary>
    private static readonly Dictionary<string, int> s_longNotYet = new(StringComparer.Ordinal)
    {
    };

    [Fact]
    public void Lines_FitTheColumns()
    {
        (string File, int Line)[] found =
        [
            .. Repository.Files(
                    ".cs", ".py", ".sh", ".md", ".js", ".css", ".html", ".yaml", ".csproj", ".props", ".targets",
                    "atelier", ".ci/run")
                // The program writes the models' cards.
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

    // Web addresses cannot be broken.
    private static int Columns(string file, string line) =>
        file.EndsWith(".md", StringComparison.Ordinal) ? Address().Replace(line, "").Length : line.Length;

    [GeneratedRegex(@"https?://\S+")]
    private static partial Regex Address();
}

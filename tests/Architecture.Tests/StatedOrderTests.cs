// Goal: phases and kinds of work are ordered by the table of phases. Method: looks for comparisons of the enumerations'
// own numbers, which would take an appended phase for the last one.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class StatedOrderTests
{
    [Fact]
    public void PhasesAndKindsOfWork_AreNotComparedByNumber()
    {
        string[] found =
        [
            .. from file in Repository.Files(".cs")
               where file.StartsWith("src/", StringComparison.Ordinal)
               from match in Comparison().Matches(CSharpText.Split(Repository.Read(file)).Code)
               select $"  {file}: {match.Value}",
        ];
        Assert.True(found.Length == 0, "compare with IsAfter instead:\n" + string.Join('\n', found));
    }

    [Theory]
    [InlineData("item.Kind < known.Item.Kind", true)]
    [InlineData("ended >= WorkKind.Denoise", true)]
    [InlineData("state.Phase > GenerationPhase.Encoding", true)]
    [InlineData("item.Kind == WorkKind.Denoise", false)]
    [InlineData("row => row.Kind == kind", false)]
    public void Comparisons_AreFound(string code, bool isOne) => Assert.Equal(isOne, Comparison().IsMatch(code));

    [GeneratedRegex(@"\.(?:Kind|Phase) [<>]=? .*|(?<![=-])[<>]=? (?:WorkKind|GenerationPhase)\.\w+")]
    private static partial Regex Comparison();
}

// Goal: a name means one type within a project, so that a reader who searches for it finds what he wants. Method: the
// names of the built assemblies' types. Nested private types are left out: they are seen within one file.
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed class TypesTests
{
    public static TheoryData<string> Projects => [.. Repository.Projects];

    [Theory]
    [MemberData(nameof(Projects))]
    public void NoTwoTypes_HaveOneName(string project)
    {
        IGrouping<string, string>[] twice =
        [
            .. AssemblyReader.Names(Repository.Assembly(project))
                .GroupBy(type => type.Name, type => type.FullName, StringComparer.Ordinal)
                .Where(types => types.Count() > 1),
        ];
        Assert.True(
            twice.Length == 0, string.Join('\n', twice.Select(types => $"{types.Key}: {string.Join(", ", types)}")));
    }

    [Fact]
    public void NamesAreFound()
    {
        string[] names = [.. AssemblyReader.Names(Repository.Assembly("Model")).Select(type => type.Name)];
        Assert.True(names.Length > 100, $"only {names.Length} types are found");
        Assert.Contains("TowerAttention", names);
        Assert.Contains("SelfAttention", names);
    }
}

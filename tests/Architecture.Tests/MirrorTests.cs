// Goal: a reader of a source file finds its tests in the folder of the same name. Method: the folders of test projects
// beside those of their source projects.
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed class MirrorTests
{
    // Tests of several rooms at once.
    private static readonly string[] s_across =
        ["Grains.Tests/Cluster", "Grains.Tests/Formats", "Grains.Tests/Simulation", "Silo.Tests/Cluster"];

    // Tests of a project beside those of the project that drives it.
    private static readonly Dictionary<string, string> s_elsewhere = new(StringComparer.Ordinal)
    {
        ["ServiceDefaults"] = "Silo.Tests/Hosting",
        ["Cli/Verify"] = "Model.Tests/Verify",
    };

    // Path within tests, for example "Grains.Tests/Queueing", and the class without its ending.
    private static readonly (string Folder, string Subject)[] s_tests =
    [
        .. Repository.Files("Tests.cs").Where(file => file.StartsWith("tests/", StringComparison.Ordinal))
            .Select(file => (
                Path.GetDirectoryName(file)!["tests/".Length..], Path.GetFileName(file)[..^"Tests.cs".Length]))
            .Where(test => Repository.Projects.Contains(ProjectOf(test.Item1))),
    ];

    [Fact]
    public void EverySourceProject_HasTests() => Assert.Equal(
        Repository.Projects,
        s_tests.Select(test => ProjectOf(test.Folder)).Concat(s_elsewhere.Keys.Where(key => !key.Contains('/')))
            .Distinct().Order());

    [Fact]
    public void FoldersOfTests_AreFoldersOfSources()
    {
        Assert.True(s_tests.Length > 100, $"only {s_tests.Length} files of tests are found");
        string[] strange =
        [
            .. s_tests.Select(test => test.Folder).Distinct().Except(s_across).Except(s_elsewhere.Values)
                .Where(folder => !Directory.Exists(Path.Combine(Repository.Root, "src", SourceOf(folder)))),
        ];
        Assert.True(strange.Length == 0, $"no such folder in src: {string.Join(", ", strange)}");
        Assert.All(s_across, folder => Assert.Contains(folder, s_tests.Select(test => test.Folder)));
    }

    [Fact]
    public void TestsNamedByAFile_AreWhereItIs()
    {
        ILookup<(string Project, string Name), string> sources = Repository.Files(".cs")
            .Where(file => file.StartsWith("src/", StringComparison.Ordinal))
            .Select(file => file["src/".Length..])
            .ToLookup(
                file => (file.Split('/')[0], Path.GetFileNameWithoutExtension(file)),
                file => Path.GetDirectoryName(file)!);
        string[] misplaced =
        [
            .. from test in s_tests
               let places = sources[(ProjectOf(test.Folder), test.Subject)].ToArray()
               where places.Length > 0 && !places.Contains(SourceOf(test.Folder))
               select $"  tests/{test.Folder}/{test.Subject}Tests.cs: src/{places[0]}/{test.Subject}.cs",
        ];
        Assert.True(misplaced.Length == 0, "tests elsewhere than their files:\n" + string.Join('\n', misplaced));
    }

    private static string ProjectOf(string folder) =>
        folder.Split('/')[0] is var name && name.EndsWith(".Tests", StringComparison.Ordinal)
            ? name[..^".Tests".Length] : name;

    private static string SourceOf(string folder) =>
        string.Join('/', folder.Split('/').Skip(1).Prepend(ProjectOf(folder)));
}

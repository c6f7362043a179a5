// Goal: contracts and grains stay light, so that a gateway's folder holds no libtorch and grains' tests start at once.
// Method: the project files. Which projects may refer to which is held by the model's ProjectReferencesTests too.
using System.Runtime.CompilerServices;
using System.Xml.Linq;
using Xunit;

namespace Atelier.Contracts.Tests;

public sealed class PackagesTests
{
    // Who may refer to whom; the command line may refer to all.
    private static readonly Dictionary<string, string[]> s_arrows = new(StringComparer.Ordinal)
    {
        ["Training"] = [], ["Model"] = ["Training"], ["Shapes"] = ["Model"], ["Contracts"] = [],
        ["Grains"] = ["Contracts", "Training"],
        ["Silo"] = ["Grains", "Model", "ServiceDefaults"], ["Gateway"] = ["Contracts", "ServiceDefaults"], ["ServiceDefaults"] = [],
    };

    [Fact]
    public void Projects_ReferOnlyAlongTheArrows()
    {
        foreach (string file in Directory.EnumerateFiles(Source(), "*.csproj", SearchOption.AllDirectories))
        {
            string name = Path.GetFileNameWithoutExtension(file);
            if (name != "Cli")
            {
                Assert.Empty(Items(file, "ProjectReference").Select(Path.GetFileNameWithoutExtension).Except(s_arrows[name]));
            }
        }
    }

    [Fact]
    public void Contracts_ReferToTheOrleansSdkAlone() =>
        Assert.Equal(["Microsoft.Orleans.Sdk"], Items(Project("Contracts"), "PackageReference"));

    [Fact]
    public void Training_RefersToNoPackage() => Assert.Empty(Items(Project("Training"), "PackageReference"));

    [Fact]
    public void Grains_ReferToOrleansAlone() =>
        Assert.All(
            Items(Project("Grains"), "PackageReference"),
            package => Assert.StartsWith("Microsoft.Orleans.", package, StringComparison.Ordinal));

    private static IEnumerable<string> Items(string file, string kind) =>
        XDocument.Load(file).Descendants(kind).Select(item => item.Attribute("Include")!.Value.Replace('\\', '/'));

    private static string Project(string name) => Path.Combine(Source(), name, name + ".csproj");

    private static string Source([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "src");
}

// Goal: projects refer to each other only in the directions of the design; contracts and grains stay light, the model
// does not know a server, and a gateway's folder contains no libtorch. Method: the project files, and the references of
// the built assemblies.
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Xml.Linq;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed class ProjectsTests
{
    private static readonly Dictionary<string, string[]> s_arrows = new(StringComparer.Ordinal)
    {
        ["Training"] = [],
        ["Model"] = ["Training"],
        ["Shapes"] = ["Model"],
        ["Configuration"] = [],
        ["Contracts"] = [],
        ["Grains"] = ["Configuration", "Contracts", "Training"],
        ["Silo"] = ["Configuration", "Grains", "Model", "ServiceDefaults"],
        ["Gateway"] = ["Configuration", "Contracts", "ServiceDefaults"],
        ["ServiceDefaults"] = ["Configuration"],
        ["Cli"] =
        [
            "Training", "Model", "Shapes", "Configuration", "Contracts", "Grains", "Silo", "Gateway", "ServiceDefaults",
        ],
    };

    [Fact]
    public void Projects_ReferOnlyAlongTheArrows()
    {
        Assert.Equal(s_arrows.Keys.Order(), Repository.Projects);
        Assert.All(Repository.Projects, project => Assert.Empty(
            Items(project, "ProjectReference").Select(Path.GetFileNameWithoutExtension).Except(s_arrows[project])));
    }

    [Fact]
    public void Contracts_ReferToTheOrleansSdkAlone() =>
        Assert.Equal(["Microsoft.Orleans.Sdk"], Items("Contracts", "PackageReference"));

    [Fact]
    public void Configuration_RefersToTheHostsExtensionsAlone() =>
        Assert.All(
            Items("Configuration", "PackageReference"),
            package => Assert.StartsWith("Microsoft.Extensions.", package, StringComparison.Ordinal));

    [Fact]
    public void Training_RefersToNoPackage() => Assert.Empty(Items("Training", "PackageReference"));

    [Fact]
    public void Grains_ReferToOrleansAlone() =>
        Assert.All(
            Items("Grains", "PackageReference"),
            package => Assert.StartsWith("Microsoft.Orleans.", package, StringComparison.Ordinal));

    [Fact]
    public void OnlyTheModel_NamesLibtorchPackages()
    {
        IEnumerable<string> naming = Repository.Projects.Where(project => Items(project, "PackageReference")
            .Any(package => package.Contains("torch", StringComparison.OrdinalIgnoreCase)));
        Assert.Equal(["Model"], naming);
    }

    [Fact]
    public void TheModel_KnowsNeitherOrleansNorAspNetCore()
    {
        using var file = new PEReader(File.OpenRead(Repository.Assembly("Model")));
        MetadataReader metadata = file.GetMetadataReader();
        string[] banned = ["Microsoft.Orleans", "Orleans", "Microsoft.AspNetCore"];
        Assert.All(
            Items("Model", "PackageReference").Concat(Items("Model", "FrameworkReference"))
                .Concat(metadata.AssemblyReferences.Select(
                    reference => metadata.GetString(metadata.GetAssemblyReference(reference).Name))),
            name => Assert.DoesNotContain(banned, start => name.StartsWith(start, StringComparison.Ordinal)));
    }

    private static string[] Items(string project, string kind) =>
    [
        .. XDocument.Parse(Repository.Read($"src/{project}/{project}.csproj")).Descendants(kind)
            .Select(item => item.Attribute("Include")!.Value.Replace('\\', '/')),
    ];
}

// Goal: the arrows of dependency are those of the design, and no others. Method: the project files themselves, and what
// the compiled model refers to.
using System.Runtime.CompilerServices;
using System.Xml.Linq;
using Atelier.Model.Networks;
using Xunit;

namespace Atelier.Model.Tests.Architecture;

public sealed class ProjectReferencesTests
{
    // The design's projects, the ones that are still to come included. The command line may refer to all.
    private static readonly Dictionary<string, string[]> s_allowed = new(StringComparer.Ordinal)
    {
        ["Training"] = [],
        ["Model"] = ["Training"],
        ["Shapes"] = ["Model"],
        ["Contracts"] = [],
        ["Grains"] = ["Contracts", "Training"],
        ["Silo"] = ["Grains", "Model", "ServiceDefaults"],
        ["Gateway"] = ["Contracts", "ServiceDefaults"],
        ["ServiceDefaults"] = [],
        ["Cli"] = ["Training", "Model", "Shapes", "Contracts", "Grains", "Silo", "Gateway", "ServiceDefaults"],
    };

    [Fact]
    public void SourceProjects_ReferOnlyAlongTheDesignsArrows()
    {
        Assert.NotEmpty(Projects());
        Assert.All(Projects(), project =>
        {
            Assert.True(s_allowed.ContainsKey(project.Name), $"{project.Name} is no project of the design");
            IEnumerable<string?> targets = project.Items("ProjectReference").Select(Path.GetFileNameWithoutExtension);
            Assert.Empty(targets.Except(s_allowed[project.Name]));
        });
    }

    [Fact]
    public void OnlyTheModel_NamesLibtorchPackages()
    {
        Assert.Contains(Projects(), project => project.Name == "Model" && project.Items("PackageReference").Any(IsLibtorch));
        Assert.All(
            Projects().Where(project => project.Name != "Model"),
            project => Assert.DoesNotContain(project.Items("PackageReference"), IsLibtorch));

        static bool IsLibtorch(string package) => package.Contains("torch", StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void TheModel_KnowsNeitherOrleansNorAspNetCore()
    {
        Project model = Projects().Single(project => project.Name == "Model");
        IEnumerable<string> named = model.Items("PackageReference").Concat(model.Items("FrameworkReference"))
            .Concat(typeof(MicroDiT).Assembly.GetReferencedAssemblies().Select(assembly => assembly.Name!));
        string[] banned = ["Microsoft.Orleans", "Orleans", "Microsoft.AspNetCore"];
        Assert.All(named, name => Assert.DoesNotContain(banned, b => name.StartsWith(b, StringComparison.Ordinal)));
    }

    private static IEnumerable<Project> Projects([CallerFilePath] string here = "") =>
        Directory.EnumerateFiles(
            Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "..", "src"), "*.csproj", SearchOption.AllDirectories)
            .Select(file => new Project(Path.GetFileNameWithoutExtension(file), XDocument.Load(file)));

    private sealed record Project(string Name, XDocument File)
    {
        public IEnumerable<string> Items(string kind) =>
            File.Descendants(kind).Select(item => item.Attribute("Include")!.Value.Replace('\\', '/'));
    }
}

// What a container takes from its image. Those of Atelier are as eng/images/Containerfile says, with the programs as
// they were built; Redis is the one of this machine.
using System.Runtime.InteropServices;
using System.Text.Json;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

/// <summary>Entry point, variables, working directory and files of an image.</summary>
internal sealed record Image(
    string[] Entrypoint, IReadOnlyDictionary<string, string> Variables, string WorkingDirectory,
    IReadOnlyList<(string Source, string Target)> Files)
{
    private const string SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    private const string DotnetTarget = "/dotnet";

    /// <summary>The image of a reference, by its repository's name.</summary>
    public static Image Of(string reference) => reference.Split(':', '@')[0] switch
    {
        "atelier-gateway" => FromContainerfile("gateway"),
        "atelier-silo" => FromContainerfile("silo"),
        "redis" => new Image(
            ["redis-server"], new Dictionary<string, string>(StringComparer.Ordinal) { ["PATH"] = SearchPath }, "/data",
            []),
        string other => throw new NotSupportedException($"Unknown image: {other}."),
    };

    private static Image FromContainerfile(string target)
    {
        // The base image has the runtime and these variables. HOME is what a container runtime sets for a user whom the
        // image does not know.
        var variables = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["PATH"] = SearchPath, ["HOME"] = "/", ["DOTNET_ROOT"] = DotnetTarget,
            ["DOTNET_RUNNING_IN_CONTAINER"] = "true", ["ASPNETCORE_HTTP_PORTS"] = "8080",
        };
        string dotnet = Path.GetFullPath(
            Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../.."));
        List<(string Source, string Target)> files = [];
        string[] entrypoint = [];
        (string folder, string stage) = ("/", "");
        foreach (string line in File.ReadLines(Repository.InRoot("eng/images/Containerfile")))
        {
            string[] words = line.Split(' ');
            stage = words is ["FROM", _, "AS", _] ? words[3] : stage;
            if (stage != target)
            {
                continue;
            }

            switch (words)
            {
                case ["COPY", var source, var to]:
                    files.Add((BuiltFolder(source.TrimEnd('/')), to.TrimEnd('/')));
                    break;
                case ["ENV", var assignment]:
                    variables[assignment.Split('=')[0]] = assignment.Split('=')[1];
                    break;
                case ["WORKDIR", var name]:
                    folder = name;
                    break;
                case ["ENTRYPOINT", ..]:
                    entrypoint = JsonSerializer.Deserialize<string[]>(line["ENTRYPOINT ".Length..])!;
                    break;
            }
        }

        Assert.NotEmpty(entrypoint);
        return new Image(
            entrypoint, variables, folder,
            [
                .. files, (dotnet, DotnetTarget),
                .. files.Select(file => file.Source).Distinct().SelectMany(LinkTargets).Distinct(),
            ]);
    }

    // The folder of a build context.
    private static string BuiltFolder(string context)
    {
        if (context == "libtorch")
        {
            return Path.Combine(BuiltFolder("silo"), "runtimes/linux-x64/native");
        }

        string project = context == "gateway" ? "Gateway" : "Silo";
        string folder = Path.GetFullPath(
            Path.Combine(AppContext.BaseDirectory, "..", "..", project, "release"));
        Assert.True(File.Exists($"{folder}/Atelier.{project}"), $"{folder}/Atelier.{project} is not built");
        return folder;
    }

    // A build links to files of packages and of other projects. What their paths have in common is mounted at the same
    // path, once for each folder of the root.
    private static IEnumerable<(string Source, string Target)> LinkTargets(string folder) =>
        Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(file => File.ResolveLinkTarget(file, returnFinalTarget: true)?.FullName).OfType<string>()
            .GroupBy(file => file.Split('/')[1], file => Path.GetDirectoryName(file)!)
            .Select(group => group.Aggregate(Common)).Select(common => (common, common));

    private static string Common(string one, string other) => string.Join(
        '/', one.Split('/').Zip(other.Split('/')).TakeWhile(pair => pair.First == pair.Second)
            .Select(pair => pair.First));
}

// The repository's files.
using System.Runtime.CompilerServices;

namespace Atelier.Helm.Tests;

internal static class Repository
{
    public static string Root { get; } = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Here())!, "..", ".."));

    public static string Chart { get; } = InRoot("helm/atelier");

    /// <summary>Names of the sets of values in tests/helm/values.</summary>
    public static string[] Sets { get; } =
    [
        .. Directory.GetFiles(InRoot("tests/helm/values"), "*.yaml")
            .Select(file => Path.GetFileNameWithoutExtension(file)).Order(StringComparer.Ordinal),
    ];

    public static string InRoot(string path) => Path.Combine(Root, path);

    public static string ValuesOf(string set) => InRoot($"tests/helm/values/{set}.yaml");

    private static string Here([CallerFilePath] string path = "") => path;
}

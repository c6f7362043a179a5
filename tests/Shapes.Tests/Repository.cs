// Finds files of the repository for the tests.
using System.Runtime.CompilerServices;

namespace Atelier.Shapes.Tests;

internal static class Repository
{
    /// <summary>A path from the repository's root.</summary>
    public static string At(string path) => Path.GetFullPath(Path.Combine(Folder(), "../..", path));

    private static string Folder([CallerFilePath] string file = "") => Path.GetDirectoryName(file)!;
}

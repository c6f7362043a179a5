using System.Runtime.CompilerServices;
using System.Text.Json;

namespace Atelier.Model.Tests.Data;

/// <summary>Finds the reference data sets, and makes folders to write into.</summary>
internal static class MdsVectors
{
    public static string Root => Path.Combine(Path.GetDirectoryName(Here())!, "..", "Vectors", "mds");

    public static string Folder(string set) => Path.Combine(Root, set);

    public static JsonElement Expected(string set) =>
        JsonSerializer.Deserialize<JsonElement>(File.ReadAllBytes(Path.Combine(Root, $"{set}.expected.json")));

    public static TemporaryFolder Copy(string set)
    {
        var copy = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(Folder(set), "*", SearchOption.AllDirectories))
        {
            string target = copy.File(Path.GetRelativePath(Folder(set), file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return copy;
    }

    private static string Here([CallerFilePath] string path = "") => path;
}

/// <summary>A new folder that goes when the test ends.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("atelier-test-").FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

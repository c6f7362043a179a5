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
            string target = copy[Path.GetRelativePath(Folder(set), file)];
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return copy;
    }

    private static string Here([CallerFilePath] string path = "") => path;
}

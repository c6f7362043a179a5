// The location of the reference cases.
using System.Runtime.CompilerServices;

namespace Atelier.Model.Tests;

internal static class ReferenceData
{
    /// <summary>A path below <c>tests/reference</c>.</summary>
    public static string At(params string[] path) =>
        Path.GetFullPath(Path.Combine([Path.GetDirectoryName(Here())!, "..", "reference", .. path]));

    private static string Here([CallerFilePath] string path = "") => path;
}

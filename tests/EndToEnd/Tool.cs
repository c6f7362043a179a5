// Programs and files of the repository that tests use.
using System.Diagnostics;
using Xunit;

namespace Atelier.EndToEnd;

internal static class Tool
{
    /// <summary>The repository's folder.</summary>
    public static string Root { get; } =
        Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "..", ".."));

    /// <summary>A file of the chart.</summary>
    public static string InChart(string path) => Path.Combine(Root, "helm", "atelier", path);

    /// <summary>Runs the `atelier` command in a folder, and returns what it wrote.</summary>
    public static async Task<string> AtelierAsync(string folder, params string[] arguments)
    {
        string program = Path.GetFullPath(
            Path.Combine(AppContext.BaseDirectory, "..", "..", "Cli", "release", "Atelier.Cli.dll"));
        using Process process = Process.Start(new ProcessStartInfo("dotnet", [program, .. arguments])
        {
            WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
            UseShellExecute = false,
            Environment = { ["ATELIER_HOME"] = Root },
        })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{output}\n{await error}");
        return output;
    }
}

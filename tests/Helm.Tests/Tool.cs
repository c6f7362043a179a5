// A program that a test runs to its end.
using System.Diagnostics;

namespace Atelier.Helm.Tests;

internal static class Tool
{
    /// <summary>Runs a program in a folder, and returns its exit code and what it wrote.</summary>
    public static async Task<(int Code, string Out, string Error)> RunAsync(
        string program, IEnumerable<string> arguments, string? folder = null, string input = "",
        IReadOnlyDictionary<string, string>? variables = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder ?? Repository.Root,
            UseShellExecute = false,
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach ((string name, string value) in variables ?? new Dictionary<string, string>(StringComparer.Ordinal))
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output, await error);
    }
}

// The real program as a process: the tests check what a user sees.
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Atelier.Cli.Tests;

/// <summary>The result of running the program.</summary>
internal sealed record ProgramRun(int ExitCode, byte[] Bytes, string Error)
{
    public string Output => Encoding.UTF8.GetString(Bytes);

    public string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The only line that starts with this.</summary>
    public string Line(string start) => Assert.Single(Lines, line => line.StartsWith(start, StringComparison.Ordinal));

    /// <summary>Asserts that the run succeeded.</summary>
    public ProgramRun Succeeded()
    {
        Assert.True(ExitCode == 0, $"exit code {ExitCode}: {Error}{Output}");
        return this;
    }

    /// <summary>Asserts that the run failed with messages on standard error only, and that they contain this.</summary>
    public void FailedSaying(params string[] parts)
    {
        Assert.Equal(1, ExitCode);
        Assert.Empty(Output);
        string[] sentences = Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(sentences, line => Assert.StartsWith("atelier: ", line));
        Assert.DoesNotContain("Exception", Error);
        Assert.All(parts, part => Assert.Contains(part, Error));
    }
}

/// <summary>Starts the program that was built beside the tests.</summary>
internal static class AtelierProgram
{
    // A safety net: no run here takes a tenth of this time.
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    public static Process Start(string folder, params IEnumerable<string> args) =>
        Start(folder, new Dictionary<string, string>(), args);

    public static Process Start(
        string folder, IReadOnlyDictionary<string, string> environment, params IEnumerable<string> args)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "Atelier.Cli"), args)
        {
            WorkingDirectory = folder,
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardErrorEncoding = Encoding.UTF8,
        };
        start.Environment["OMP_NUM_THREADS"] = "1"; // Several run in parallel.
        foreach (string name in (string[])[Home.Variable, "ATELIER_CLUSTER", "ATELIER_KEY", "ATELIER_VOCABULARY"])
        {
            start.Environment.Remove(name); // Tests have folders and clusters of their own.
        }

        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    public static Task<ProgramRun> RunAsync(string folder, params IEnumerable<string> args) =>
        RunAsync(folder, new Dictionary<string, string>(), args);

    public static async Task<ProgramRun> RunAsync(
        string folder, IReadOnlyDictionary<string, string> environment, params IEnumerable<string> args)
    {
        using Process process = Start(folder, environment, args);
        process.StandardInput.Close();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(s_limit);
        try
        {
            using var output = new MemoryStream();
            Task<string> error = process.StandardError.ReadToEndAsync(limit.Token);
            await process.StandardOutput.BaseStream.CopyToAsync(output, limit.Token);
            await process.WaitForExitAsync(limit.Token);
            return new ProgramRun(process.ExitCode, output.ToArray(), await error);
        }
        finally
        {
            process.Kill();
        }
    }
}

/// <summary>Signals, which .NET has no API for.</summary>
internal static class Signals
{
    public const int Interrupt = 2;
    public const int Kill = 9;
    public const int Terminate = 15;

    public static void Send(int process, int signal) => Assert.Equal(0, SendSignal(process, signal));

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SendSignal(int process, int signal);
}

/// <summary>A temporary folder that is deleted with its content.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("atelier-cli-").FullName;

    /// <summary>Relative paths of all files and folders in it.</summary>
    public string[] Content =>
    [
        .. Directory.GetFileSystemEntries(Path, "*", SearchOption.AllDirectories)
            .Select(path => path[(Path.Length + 1)..]).Order(),
    ];

    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>A JSON file in it.</summary>
    public JsonElement Json(string name) => JsonSerializer.Deserialize<JsonElement>(File.ReadAllBytes(this[name]));

    /// <summary>Writes a small file, and creates the folders above it.</summary>
    public void Write(string name, string text)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(this[name])!);
        File.WriteAllText(this[name], text);
    }

    /// <summary>Copies a folder into this one.</summary>
    public string Copy(string from, string name)
    {
        foreach (string file in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            string to = System.IO.Path.Combine(this[name], System.IO.Path.GetRelativePath(from, file));
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(to)!);
            File.Copy(file, to);
        }

        return this[name];
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

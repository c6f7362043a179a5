// The script `atelier`: what it refuses, and when it builds. Method: a copy of it in a checkout of a few empty files, with
// a program in place of dotnet that writes down how it was called.
using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Atelier.Cli.Tests;

/// <summary>Runs the script.</summary>
public sealed class ScriptTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public ScriptTests()
    {
        File.Copy(FindScript(), _folder["atelier"]);
        foreach (string file in (string[])["src/A.cs", "src/B.cs", "tests/T.cs", "eng/E.targets", "BannedSymbols.txt"])
        {
            _folder.Write(file, "");
        }

        _folder.Write("bin/dotnet", "#!/bin/sh\necho \"$1\" >> \"$(dirname \"$0\")/../calls\"\n");
        using Process made = Process.Start("chmod", ["+x", _folder["bin/dotnet"]]);
        made.WaitForExit();
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Build_FollowsWhateverChanged()
    {
        Assert.True(await BuildsAsync());
        Assert.False(await BuildsAsync());
        File.Delete(_folder["src/B.cs"]);
        Assert.True(await BuildsAsync());
        Assert.False(await BuildsAsync());
        _folder.Write("BannedSymbols.txt", "T:System.Random");
        Assert.True(await BuildsAsync());
        _folder.Write("src/new/C.cs", "");
        Assert.True(await BuildsAsync());
        Assert.False(await BuildsAsync());
    }

    [Theory]
    [InlineData("external", "ATELIER_BACKEND is external: name libtorch's folder in ATELIER_LIBTORCH.")]
    [InlineData("rocm", "ATELIER_BACKEND is 'rocm'; it may be cpu or cuda.")]
    public async Task BackendThatCannotBe_IsRefused(string backend, string sentence)
    {
        (int code, string error) = await RunAsync(backend);
        Assert.Equal((1, $"atelier: {sentence}\n"), (code, error));
        Assert.False(File.Exists(_folder["calls"]));
    }

    private static string FindScript([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "atelier");

    private async Task<bool> BuildsAsync()
    {
        File.Delete(_folder["calls"]);
        (int code, string error) = await RunAsync("cpu");
        Assert.Equal((0, ""), (code, error));
        string calls = await File.ReadAllTextAsync(_folder["calls"], TestContext.Current.CancellationToken);
        return calls.Contains("build\n", StringComparison.Ordinal);
    }

    private async Task<(int Code, string Error)> RunAsync(string backend)
    {
        var start = new ProcessStartInfo("bash", [_folder["atelier"], "verify"])
        {
            UseShellExecute = false,
            RedirectStandardError = true,
        };
        start.Environment["PATH"] = $"{_folder["bin"]}:{start.Environment["PATH"]}";
        start.Environment["ATELIER_BACKEND"] = backend;
        start.Environment.Remove("ATELIER_LIBTORCH");
        using Process process = Process.Start(start)!;
        string error = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, error);
    }
}

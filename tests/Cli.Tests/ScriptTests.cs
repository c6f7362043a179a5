// The script `atelier`: its errors, and when it builds. Method: a copy of it in a checkout of a few empty files, with a
// fake dotnet that records how it was called.
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

        foreach (string program in (string[])["dotnet", "npm", "dpkg", "apt-get"])
        {
            _folder.Write(
                $"bin/{program}",
                $"#!/bin/sh\ncd \"$(dirname \"$0\")/..\"\necho {program} \"$*\" >> calls\n"
                + "env | grep -E '^ATELIER_(QUEUE|SEEDS|ATTACK)' | sort >> calls\n"
                + "case $* in *QueueScaleTests*) exit 3;; *) exit 0;; esac\n");
            File.SetUnixFileMode(
                _folder[$"bin/{program}"], UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
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
    [InlineData("rocm", "ATELIER_BACKEND is 'rocm'; it must be cpu or cuda.")]
    public async Task InvalidBackend_IsRefused(string backend, string sentence)
    {
        (int code, string error) = await RunAsync(backend);
        Assert.Equal((1, $"atelier: {sentence}\n"), (code, error));
        Assert.False(File.Exists(_folder["calls"]));
    }

    [Fact]
    public async Task Up_BuildsTheGatewayToo()
    {
        Assert.Equal(["src/Cli", "src/Gateway"], await BuiltAsync("up"));
        Assert.Empty(await BuiltAsync("up"));
        _folder.Write("src/A.cs", "changed");
        Assert.Equal(["src/Cli"], await BuiltAsync("status"));
        Assert.Equal(["src/Gateway"], await BuiltAsync("up", "--port", "80"));
    }

    [Fact]
    public async Task Test_InstallsAzurite_OnceAndInOneVersion()
    {
        string azurite =
            $"npm install --prefix {_folder["artifacts/azurite"]} --no-save --no-audit --no-fund --loglevel=error "
            + "azurite@3.35.0";
        Assert.Contains(azurite, await CallsAsync("test"));
        _folder.Write("artifacts/azurite/node_modules/azurite/package.json", "{\n  \"version\": \"3.34.0\"\n}");
        Assert.Contains(azurite, await CallsAsync("test"));
        _folder.Write("artifacts/azurite/node_modules/azurite/package.json", "{\n  \"version\": \"3.35.0\"\n}");
        string[] calls = await CallsAsync("test", "--install", "--filter-class", "X");
        Assert.DoesNotContain(azurite, calls);
        Assert.Contains("dpkg -s redis-server", calls);
        Assert.Contains(
            "dotnet test -c Release --no-build -p:TorchBackend=cpu --max-parallel-test-modules 1 --filter-class X",
            calls);
    }

    [Fact]
    public async Task LongTests_AreWhatTheSuiteLeavesOut_AtFullSize()
    {
        string[] calls = [.. (await CallsAsync("test", "--long", "seeds", "attacks"))
            .SkipWhile(call => !call.StartsWith("dotnet artifacts", StringComparison.Ordinal))];
        Assert.Equal(
            [
                "dotnet artifacts/cpu/bin/Grains.Tests/release/Atelier.Grains.Tests.dll "
                    + "--filter-class *.ClusterSimulationTests --output Detailed",
                "ATELIER_SEEDS=0..20000",
                "dotnet artifacts/cpu/bin/Training.Tests/release/Atelier.Training.Tests.dll "
                    + "--filter-class *.WorldSimulationTests --output Detailed",
                "ATELIER_SEEDS=0..20000",
                "dotnet artifacts/cpu/bin/EndToEnd/release/Atelier.EndToEnd.dll --filter-class *.NothingIsLostTests "
                    + "--filter-class *.LongLifeTests --filter-class *.FuzzTests --output Detailed",
                "ATELIER_ATTACK_FUZZ=10000", "ATELIER_ATTACK_GENERATIONS=200", "ATELIER_ATTACK_GOOD=50",
                "ATELIER_ATTACK_KILLS=20", "ATELIER_ATTACK_MANY=10000", "ATELIER_ATTACK_SECONDS=3",
            ],
            calls);
    }

    // The fake dotnet fails at the first part.
    [Fact]
    public async Task LongTests_AreAllRun_AndFailIfOneDoes()
    {
        (int code, _) = await RunAsync("cpu", "test", "--install", "--long");
        Assert.Equal(1, code);
        string calls = await File.ReadAllTextAsync(_folder["calls"], TestContext.Current.CancellationToken);
        Assert.Matches(@"(?s)\*\.StoreCostTests.*ATELIER_QUEUE_SCALE=1.*\*\.FuzzTests", calls);
        Assert.Equal(
            (1, "atelier: test --long has no part 'quick'; it has scale, seeds, attacks, metrics, images and pods.\n"),
            await RunAsync("cpu", "test", "--long", "seeds", "quick"));
    }

    [Fact]
    public async Task HelpOfTheTests_IsThatOfTheProgram() =>
        Assert.Contains(
            await CallsAsync("test", "--help"), call => call.EndsWith(" test --help", StringComparison.Ordinal));

    private static string FindScript([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "atelier");

    private async Task<bool> BuildsAsync()
    {
        File.Delete(_folder["calls"]);
        (int code, string error) = await RunAsync("cpu");
        Assert.Equal((0, ""), (code, error));
        string calls = await File.ReadAllTextAsync(_folder["calls"], TestContext.Current.CancellationToken);
        return calls.Contains("dotnet build ", StringComparison.Ordinal);
    }

    private async Task<string[]> BuiltAsync(params string[] args) =>
    [
        .. (await CallsAsync(args)).Select(call => call.Split(' ')).Where(words => words is ["dotnet", "build", ..])
            .Select(words => words[2]),
    ];

    private async Task<string[]> CallsAsync(params string[] args)
    {
        File.Delete(_folder["calls"]);
        (int code, string error) = await RunAsync("cpu", args);
        Assert.Equal((0, ""), (code, error));
        return await File.ReadAllLinesAsync(_folder["calls"], TestContext.Current.CancellationToken);
    }

    private async Task<(int Code, string Error)> RunAsync(string backend, params string[] args)
    {
        var start = new ProcessStartInfo("bash", [_folder["atelier"], .. args.Length == 0 ? ["verify"] : args])
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

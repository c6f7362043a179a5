// Goal: one command brings up a cluster that draws; what it prints works as pasted; and it ends, and comes back, in every
// way in which it can. Method: the real program with the toy model, its real silo and gateway, and a shell.
using System.Diagnostics;
using System.Text;
using System.Text.RegularExpressions;
using Atelier.Cli.Cluster;
using Atelier.Model.Imaging;

namespace Atelier.Cli.Tests;

/// <summary>Clusters on this machine.</summary>
public sealed partial class UpTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task ACluster_ComesUp_Draws_IsKilled_ComesBack_AndStops()
    {
        byte[] local = await DrawAsync("--model", model.Folder);
        string key;
        int[] children;
        using (Process up = Start())
        {
            string welcome = await WelcomeAsync(up);
            (string url, key) = (Find(welcome, UrlPattern()), Find(welcome, KeyPattern()));
            Assert.Contains($"{url}/#key={key}", welcome);

            // The line to paste, as it is.
            string curl = welcome[welcome.IndexOf("curl", StringComparison.Ordinal)..welcome.IndexOf("star.png", StringComparison.Ordinal)];
            await ShellAsync($"{curl}star.png");
            RgbImage star = ImageCodec.Decode(await File.ReadAllBytesAsync(_folder["star.png"], Cancellation));
            Assert.Equal((TinyModel.Resolution, TinyModel.Resolution), (star.Width, star.Height));

            Assert.Equal(local, await DrawAsync("--cluster", url, "--key", key));
            Assert.Contains("silo-1/cpu", (await RunAsync("status", "--data", "data")).Succeeded().Output);
            Assert.Contains("local", (await RunAsync("tenants", "list", "--data", "data")).Succeeded().Output);
            Assert.NotEmpty(Directory.GetFiles(_folder["data/blobs"], "*", SearchOption.AllDirectories));

            children = Children(up.Id);
            Assert.Equal(2, children.Length);
            Signals.Send(up.Id, Signals.Kill);
            await up.WaitForExitAsync(Cancellation);
        }

        using (Process up = Start())
        {
            string welcome = await WelcomeAsync(up);
            Assert.All(children, child => Assert.False(IsAlive(child), "a child outlived its supervisor"));
            Assert.Equal(key, Find(welcome, KeyPattern()));
            Assert.Equal(local, await DrawAsync("--cluster", Find(welcome, UrlPattern()), "--key", key));
            children = Children(up.Id);
            Signals.Send(up.Id, Signals.Interrupt);
            string rest = await up.StandardError.ReadToEndAsync(Cancellation);
            await up.WaitForExitAsync(Cancellation);
            Assert.Equal(0, up.ExitCode);
            Assert.Matches("(?s)stopping gateway.*stopping silo-1.*stopped\n$", rest);
            Assert.DoesNotContain("killed", rest);
            Assert.All(children, child => Assert.False(IsAlive(child)));
        }
    }

    [Fact]
    public async Task ADeadProcess_IsReplaced_AndTwoSilosShareOneStore()
    {
        using Process up = Start("--silos", "2");
        try
        {
            string welcome = await WelcomeAsync(up);
            string status = (await RunAsync("status", "--data", "data")).Succeeded().Output;
            Assert.Contains("silo-2/cpu", status);
            int[] children = Children(up.Id);
            Assert.Equal(3, children.Length);
            foreach (int child in children)
            {
                Signals.Send(child, Signals.Kill);
            }

            byte[] again = await DrawPatientlyAsync(Find(welcome, UrlPattern()), Find(welcome, KeyPattern()));
            Assert.Equal(await DrawAsync("--model", model.Folder), again);
            Assert.Empty(Children(up.Id).Intersect(children));
            Signals.Send(up.Id, Signals.Terminate);
            await up.StandardError.ReadToEndAsync(Cancellation);
            await up.WaitForExitAsync(Cancellation);
            Assert.Equal(0, up.ExitCode);
        }
        finally
        {
            up.Kill();
        }
    }

    [Fact]
    public async Task AModelThatIsNone_IsRefused_WithWhatToDo()
    {
        ProgramRun run = await RunAsync("up", "--data", "data", "--model", "nowhere");
        run.FailedSaying("There is no model to draw with: nowhere: model.json: is not there", "--model", "atelier demo make");
        Assert.False(Directory.Exists(_folder["data"]));
    }

    [Fact]
    public async Task APortThatIsTaken_IsRefused()
    {
        using var other = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        other.Start();
        int port = ((System.Net.IPEndPoint)other.LocalEndpoint).Port;
        (await RunAsync("up", "--data", "data", "--model", model.Folder, "--port", $"{port}"))
            .FailedSaying($"--port is {port}, but another program listens there");
    }

    private Process Start(params string[] options) =>
        AtelierProgram.Start(_folder.Path, ["up", "--data", "data", "--model", model.Folder, "--threads", "1", .. options]);

    private Task<ProgramRun> RunAsync(params string[] args) => AtelierProgram.RunAsync(_folder.Path, args);

    private async Task<byte[]> DrawAsync(params string[] options) =>
        (await RunAsync(["generate", "a red circle", "-o", "-", "--seed", "7", .. options])).Succeeded().Bytes;

    // Until the gateway listens again, nobody answers.
    private async Task<byte[]> DrawPatientlyAsync(string url, string key)
    {
        while (true)
        {
            ProgramRun run = await RunAsync("generate", "a red circle", "-o", "-", "--seed", "7", "--cluster", url, "--key", key);
            if (run.ExitCode == 0 || !run.Error.Contains("Nobody answers", StringComparison.Ordinal))
            {
                return run.Succeeded().Bytes;
            }
        }
    }

    private async Task<string> WelcomeAsync(Process up)
    {
        var text = new StringBuilder();
        while (await up.StandardOutput.ReadLineAsync(Cancellation) is { } line)
        {
            text.Append(line).Append('\n');
            if (line.StartsWith("Ctrl-C", StringComparison.Ordinal))
            {
                return text.ToString();
            }
        }

        throw new InvalidOperationException($"up ended: {await up.StandardError.ReadToEndAsync(Cancellation)}");
    }

    private async Task ShellAsync(string command)
    {
        using Process shell = Process.Start(new ProcessStartInfo("bash", ["-euo", "pipefail", "-c", command])
        {
            UseShellExecute = false, WorkingDirectory = _folder.Path, RedirectStandardError = true,
        })!;
        string error = await shell.StandardError.ReadToEndAsync(Cancellation);
        await shell.WaitForExitAsync(Cancellation);
        Assert.True(shell.ExitCode == 0, error);
    }

    private static int[] Children(int process) =>
    [
        .. File.ReadAllText($"/proc/{process}/task/{process}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse),
    ];

    private static bool IsAlive(int process) => Directory.Exists($"/proc/{process}");

    private static string Find(string text, Regex pattern) => pattern.Match(text).Value;

    [GeneratedRegex("http://127.0.0.1:[0-9]+")]
    private static partial Regex UrlPattern();

    [GeneratedRegex("atl_local_[A-Za-z0-9_-]{43}")]
    private static partial Regex KeyPattern();
}

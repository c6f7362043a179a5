// Goal: one command starts a cluster that draws; what it prints works when pasted; and the cluster ends, and comes
// back, in every possible way. Method: the real program with the toy model, its real silo and gateway, and a shell.
using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using System.Text.RegularExpressions;
using Atelier.Cli.Cluster;
using Atelier.Model.Imaging;

namespace Atelier.Cli.Tests.Cluster;

/// <summary>Clusters on this machine.</summary>
public sealed partial class UpTests(TinyModel model) : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private readonly TemporaryFolder _folder = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task ACluster_ComesUp_Draws_IsKilled_ComesBack_AndStops_AndKeepsItsFilesToItself()
    {
        MakeOpenFolder();
        byte[] local = await DrawAsync("--model", model.Folder);
        string key;
        int[] children;
        using (Running up = Start())
        {
            string welcome = await WelcomeAsync(up.Process);
            (string url, key) = (Find(welcome, UrlPattern()), Find(welcome, KeyPattern()));
            Assert.Contains($"{url}/#key={key}", welcome);

            // The line to paste, verbatim.
            int start = welcome.IndexOf("curl", StringComparison.Ordinal);
            string curl = welcome[start..welcome.IndexOf("star.png", StringComparison.Ordinal)];
            await ShellAsync($"{curl}star.png");
            RgbImage star = ImageCodec.Decode(await File.ReadAllBytesAsync(_folder["star.png"], Cancellation));
            Assert.Equal((TinyModel.Resolution, TinyModel.Resolution), (star.Width, star.Height));

            Assert.Equal(local, await DrawAsync("--cluster", url, "--key", key));
            Assert.Contains("silo-1/cpu", (await RunAsync("status", "--data", "data")).Succeeded().Output);
            Assert.Contains("local", (await RunAsync("tenants", "list", "--data", "data")).Succeeded().Output);
            Assert.NotEmpty(Directory.GetFiles(_folder["data/blobs"], "*", SearchOption.AllDirectories));

            foreach (SiloPorts ports in ClusterFile.Read(_folder["data"])!.Silos)
            {
                await SpeaksTlsAloneAsync(ports.Port);
                await SpeaksTlsAloneAsync(ports.ProxyPort);
            }

            children = Children(up.Process.Id);
            Assert.Equal(2, children.Length);
            Signals.Send(up.Process.Id, Signals.Kill);
            await up.Process.WaitForExitAsync(Cancellation);
        }

        using (Running up = Start())
        {
            string welcome = await WelcomeAsync(up.Process);
            Assert.All(children, child => Assert.False(IsAlive(child), "a child outlived its supervisor"));
            Assert.Equal(key, Find(welcome, KeyPattern()));
            Assert.Equal(local, await DrawAsync("--cluster", Find(welcome, UrlPattern()), "--key", key));
            children = Children(up.Process.Id);
            Signals.Send(up.Process.Id, Signals.Terminate);
            string rest = await up.Process.StandardError.ReadToEndAsync(Cancellation);
            await up.Process.WaitForExitAsync(Cancellation);
            Assert.Equal(0, up.Process.ExitCode);
            Assert.Matches("(?s)stopping gateway.*stopping silo-1.*stopped\n$", rest);
            Assert.DoesNotContain("killed", rest);
            Assert.All(children, child => Assert.False(IsAlive(child)));
            Assert.DoesNotContain("other users", rest);
        }

        string[] open =
        [
            .. Directory.EnumerateFileSystemEntries(_folder["data"], "*", SearchOption.AllDirectories)
                .Where(entry => (File.GetUnixFileMode(entry) & ~OwnerOnly) != UnixFileMode.None),
        ];
        Assert.Empty(open);
        Assert.True(File.Exists(_folder["data/logs/silo-1.log"]) && File.Exists(_folder["data/cluster.json"]));
    }

    [Fact]
    public async Task ADeadProcess_IsReplaced_AndTwoSilosShareOneStore()
    {
        using Running up = Start("--silos", "2");
        string welcome = await WelcomeAsync(up.Process);

        // `up` prints its welcome once a picture can be drawn; the second device may join a moment later.
        string status = (await RunAsync("status", "--data", "data")).Succeeded().Output;
        for (int tries = 0; tries < 30 && !status.Contains("silo-2/cpu", StringComparison.Ordinal); tries++)
        {
            await Task.Delay(500, Cancellation);
            status = (await RunAsync("status", "--data", "data")).Succeeded().Output;
        }

        Assert.Contains("silo-2/cpu", status);
        int[] children = Children(up.Process.Id);
        Assert.Equal(3, children.Length);
        foreach (int child in children)
        {
            Signals.Send(child, Signals.Kill);
        }

        byte[] again = await DrawPatientlyAsync(Find(welcome, UrlPattern()), Find(welcome, KeyPattern()));
        Assert.Equal(await DrawAsync("--model", model.Folder), again);
        Assert.Empty(Children(up.Process.Id).Intersect(children));
        Signals.Send(up.Process.Id, Signals.Terminate);
        await up.Process.StandardError.ReadToEndAsync(Cancellation);
        await up.Process.WaitForExitAsync(Cancellation);
        Assert.Equal(0, up.Process.ExitCode);
    }

    [Fact]
    public async Task AnInvalidModel_IsRefused_WithAdvice()
    {
        ProgramRun run = await RunAsync("up", "--data", "data", "--model", "nowhere");
        run.FailedSaying(
            "There is no model to draw with: nowhere: model.json: is missing", "--model", "atelier demo make");
        Assert.False(Directory.Exists(_folder["data"]));
    }

    [Fact]
    public async Task APortThatIsTaken_IsRefused()
    {
        using var other = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        other.Start();
        int port = ((System.Net.IPEndPoint)other.LocalEndpoint).Port;
        (await RunAsync("up", "--data", "data", "--model", model.Folder, "--port", $"{port}"))
            .FailedSaying($"--port is {port}, but another program is using it");
    }

    // A data folder as mkdir creates it, with files that an earlier release, or a restored backup, may have left
    // readable.
    private void MakeOpenFolder()
    {
        const UnixFileMode file =
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
        const UnixFileMode folder =
            file | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
        foreach (string name in (string[])["data", "data/logs", "data/store", "data/blobs", "data/blobs/aside"])
        {
            Directory.CreateDirectory(_folder[name]);
            File.SetUnixFileMode(_folder[name], folder);
        }

        string[] files = ["data/lock", "data/logs/silo-1.log", "data/logs/gateway.1.log", "data/blobs/aside/left"];
        foreach (string name in files)
        {
            File.WriteAllText(_folder[name], "");
            File.SetUnixFileMode(_folder[name], file);
        }
    }

    private Running Start(params string[] options) =>
        new(
            AtelierProgram.Start(
                _folder.Path, ["up", "--data", "data", "--model", model.Folder, "--threads", "1", .. options]));

    private Task<ProgramRun> RunAsync(params string[] args) => AtelierProgram.RunAsync(_folder.Path, args);

    private async Task<byte[]> DrawAsync(params string[] options) =>
        (await RunAsync(["generate", "a red circle", "-o", "-", "--seed", "7", .. options])).Succeeded().Bytes;

    // Until the gateway listens again, connections fail.
    private async Task<byte[]> DrawPatientlyAsync(string url, string key)
    {
        while (true)
        {
            ProgramRun run = await RunAsync(
                "generate", "a red circle", "-o", "-", "--seed", "7", "--cluster", url, "--key", key);
            if (run.ExitCode == 0 || !run.Error.Contains("No cluster answers", StringComparison.Ordinal))
            {
                return run.Succeeded().Bytes;
            }
        }
    }

    private static async Task<string> WelcomeAsync(Process up)
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

    // The cluster's ports show the cluster's certificate, and end a connection that does not show it.
    private static async Task SpeaksTlsAloneAsync(int port)
    {
        using var socket = new TcpClient();
        await socket.ConnectAsync(IPAddress.Loopback, port, Cancellation);
        string? subject = null;
        await using var tls = new SslStream(
            socket.GetStream(), leaveInnerStreamOpen: false, (_, certificate, _, _) =>
            {
                subject = certificate?.Subject;
                return certificate is not null;
            });
        int read = 0;
        try
        {
            await tls.AuthenticateAsClientAsync("atelier");
            read = await tls.ReadAsync(new byte[1], Cancellation);
        }
        catch (Exception error) when (error is IOException or AuthenticationException)
        {
            // Refused.
        }

        Assert.Equal((port, "CN=atelier", 0), (port, subject, read));
    }

    private static int[] Children(int parent) =>
    [
        .. Directory.GetDirectories("/proc").Select(folder => Path.GetFileName(folder)).Where(
            name => name.All(char.IsAsciiDigit))
            .Select(int.Parse).Where(process => Read(process) is { State: not "Z" } one && one.Parent == parent),
    ];

    private static bool IsAlive(int process) => Read(process) is { State: not "Z" };

    // State and parent of a process: the fields after its name, which is in brackets.
    private static (string State, int Parent)? Read(int process)
    {
        try
        {
            string text = File.ReadAllText($"/proc/{process}/stat");
            string[] fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return (fields[0], int.Parse(fields[1], System.Globalization.CultureInfo.InvariantCulture));
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static string Find(string text, Regex pattern) => pattern.Match(text).Value;

    [GeneratedRegex("http://127.0.0.1:[0-9]{1,5}", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex UrlPattern();

    [GeneratedRegex("atl_local_[A-Za-z0-9_-]{43}", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex KeyPattern();

    // A failing test leaves nothing running: the children end with their supervisor.
    private sealed record Running(Process Process) : IDisposable
    {
        public void Dispose()
        {
            Process.Kill();
            Process.Dispose();
        }
    }
}

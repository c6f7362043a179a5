// Goal: a child is kept alive as long as its supervisor wants it, and no longer. Method: one-line shell scripts as
// children, which die, do not end, or wait for the end of their input.
using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Atelier.Cli.Cluster;

namespace Atelier.Cli.Tests.Cluster;

/// <summary>Supervision of real processes.</summary>
public sealed class SupervisionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly Channel<string> _said = Channel.CreateUnbounded<string>();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task AChildThatDies_IsRestarted_AfterGrowingPauses_AndItsLastOutputIsShown()
    {
        await using SupervisedChild child = Start(
            "echo standard; for i in $(seq 5); do echo word $i >&2; done; exit 3",
            new SupervisionSettings { PauseMin = Seconds(0.1), PauseMax = Seconds(0.3), LinesShown = 2 });
        foreach (string pause in (string[])["0.1", "0.2", "0.3", "0.3"])
        {
            Assert.Equal(
                $"child exited with code 3; restarting it in {pause} s; its log is {_folder["child.log"]}\n    "
                + "word 4\n    word 5",
                await _said.Reader.ReadAsync(Cancellation));
        }

        Assert.Equal(3, child.LastDeath!.ExitCode);
        Assert.True(child.LastDeath.Count >= 4);
        string log = await LogAsync();
        Assert.Contains(" standard\n", log);
        Assert.Contains(" word 1\n", log);
    }

    [Fact]
    public async Task AChildThatRanLong_StartsWithTheShortestPause()
    {
        await using SupervisedChild child = Start(
            "exit 1",
            new SupervisionSettings { PauseMin = Seconds(0.1), PauseMax = Seconds(5), SteadyAfter = TimeSpan.Zero });
        for (int death = 0; death < 4; death++)
        {
            Assert.Contains("in 0.1 s", await _said.Reader.ReadAsync(Cancellation));
        }
    }

    [Fact]
    public async Task AChildThatASignalEnds_IsStartedAgain()
    {
        await using SupervisedChild child = Start(
            "echo here; exec sleep 1000", new SupervisionSettings { PauseMin = Seconds(0.1) });
        int first = await ProcessAsync(child);
        Signals.Send(first, Signals.Kill);
        Assert.StartsWith("child exited with code 137;", await _said.Reader.ReadAsync(Cancellation));
        Assert.NotEqual(first, await ProcessAsync(child));
    }

    [Fact]
    public async Task AMissingProgram_IsReported()
    {
        var program = new ChildProgram("child", _folder["nothing"], [], new Dictionary<string, string?>());
        await using var child = new SupervisedChild(
            program, new SupervisionSettings(), _folder.Path, TimeProvider.System, Say);
        Assert.StartsWith("child exited with code 127;", await _said.Reader.ReadAsync(Cancellation));
    }

    // The child either does not answer, or reports that it no longer works.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AChildThatHangs_IsKilled_AndStartedAgain(bool says)
    {
        using var listener = new HttpListener();
        string live = $"http://127.0.0.1:{FreePort()}/";
        listener.Prefixes.Add(live);
        listener.Start();
        using var sick = new CancellationTokenSource();
        int answers = 0;
        Task answering = AnswerAsync(listener, says, () => Interlocked.Increment(ref answers), sick.Token);
        var program = new ChildProgram("child", "bash", ["-c", "exec sleep 1000"], new Dictionary<string, string?>())
        {
            Live = new Uri(live),
        };
        var supervision = new SupervisionSettings
        {
            ProbePeriod = Seconds(0.05), ProbeTimeout = Seconds(0.2), PauseMin = Seconds(0.1),
            HungAfter = says ? TimeSpan.FromHours(1) : Seconds(1), SickAnswers = says ? 2 : int.MaxValue,
        };
        await using var child = new SupervisedChild(program, supervision, _folder.Path, TimeProvider.System, Say);
        int first = await ProcessAsync(child);

        // So many probes take longer than the child may be silent.
        await UntilAsync(() => Volatile.Read(ref answers) >= 30);
        Assert.Equal(first, child.ProcessId);
        await sick.CancelAsync();
        Assert.Equal(
            says ? "child reports that it no longer works; killing it"
                : "child has not answered liveness probes for 1 s; killing it",
            await _said.Reader.ReadAsync(Cancellation));
        Assert.StartsWith("child exited with code 137;", await _said.Reader.ReadAsync(Cancellation));
        Assert.NotEqual(first, await ProcessAsync(child));
        await child.StopAsync();
        listener.Stop();
        await answering;
    }

    [Fact]
    public async Task AChildWhoseStartHangs_IsKilled_AndStartedAgain()
    {
        var program = new ChildProgram("child", "bash", ["-c", "exec sleep 1000"], new Dictionary<string, string?>())
        {
            Live = new Uri($"http://127.0.0.1:{FreePort()}/"),
        };
        var supervision = new SupervisionSettings
        {
            ProbePeriod = Seconds(0.02),
            PauseMin = Seconds(0.1),
            StartMax = Seconds(0.5),
        };
        await using var child = new SupervisedChild(program, supervision, _folder.Path, TimeProvider.System, Say);
        Assert.Equal(
            "child has not answered liveness probes for 0.5 s; killing it", await _said.Reader.ReadAsync(Cancellation));
        Assert.StartsWith("child exited with code 137;", await _said.Reader.ReadAsync(Cancellation));
    }

    [Fact]
    public async Task AChildThatNeverSaysThatItIsAlive_IsStillStarting()
    {
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        var program = new ChildProgram("child", "bash", ["-c", "exec sleep 1000"], new Dictionary<string, string?>())
        {
            Live = new Uri($"http://127.0.0.1:{((IPEndPoint)silent.LocalEndpoint).Port}/"),
        };
        await using var child = new SupervisedChild(
            program, new SupervisionSettings { ProbePeriod = Seconds(0.02), HungAfter = Seconds(0.1) }, _folder.Path,
            TimeProvider.System, Say);
        int first = await ProcessAsync(child);
        for (int probes = 0; probes < 20; probes++)
        {
            (await silent.AcceptTcpClientAsync(Cancellation)).Dispose();
        }

        Assert.Equal(first, child.ProcessId);
    }

    [Fact]
    public async Task AChildThatIsStopped_EndsInOrder_AndIsNotStartedAgain()
    {
        await using SupervisedChild child = Start(
            "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done", new SupervisionSettings());
        await LineAsync(" ready\n");
        await child.StopAsync();
        Assert.Contains(" bye\n", await LogAsync());
        Assert.Null(child.LastDeath);
        Assert.Null(child.ProcessId);
        Assert.False(_said.Reader.TryRead(out _));
    }

    [Fact]
    public async Task AChildThatWillNotEnd_IsKilledAfterTheGrace()
    {
        await using SupervisedChild child = Start(
            "trap '' TERM; echo ready; while :; do sleep 0.05; done", new SupervisionSettings { Grace = Seconds(0.3) });
        await LineAsync(" ready\n");
        await child.StopAsync();
        Assert.Equal("child did not exit within 0.3 s; killing it", await _said.Reader.ReadAsync(Cancellation));
        Assert.Null(child.ProcessId);
    }

    [Fact]
    public async Task AChildThatIsBetweenTwoLives_CanBeStopped()
    {
        await using SupervisedChild child = Start(
            "exit 1", new SupervisionSettings { PauseMin = TimeSpan.FromHours(1), PauseMax = TimeSpan.FromHours(1) });
        await _said.Reader.ReadAsync(Cancellation);
        await child.StopAsync();
        Assert.Equal(1, child.LastDeath!.Count);
    }

    [Fact]
    public async Task AChildsInput_StaysOpen_AsLongAsItsSupervisorLives()
    {
        await using SupervisedChild child = Start(
            "echo ready; read line; echo the input is at its end", new SupervisionSettings());
        await LineAsync(" ready\n");
        int process = await ProcessAsync(child);
        Assert.True(File.Exists($"/proc/{process}/fd/0"));
        Assert.DoesNotContain("at its end", await LogAsync());
    }

    [Fact]
    public async Task Variables_AreSetAndTakenAway()
    {
        var program = new ChildProgram(
            "child", "bash", ["-c", "echo \"[$GIVEN][${HOME-none}]\"; exec sleep 1000"],
            new Dictionary<string, string?> { ["GIVEN"] = "a b", ["HOME"] = null });
        await using var child = new SupervisedChild(
            program, new SupervisionSettings(), _folder.Path, TimeProvider.System, Say);
        await LineAsync(" [a b][none]\n");
    }

    [Fact]
    public void ALog_KeepsItsLatestFiles()
    {
        using (var log = new RotatingLog(_folder.Path, "x", TimeProvider.System, bytesMax: 100, files: 3))
        {
            for (int line = 0; line < 20; line++)
            {
                log.WriteLine($"line {line}");
            }

            log.WriteLine(new string('y', 500));
        }

        Assert.Equal(["x.1.log", "x.2.log", "x.log"], _folder.Content);
        Assert.EndsWith("y\n", File.ReadAllText(_folder["x.log"]));
        Assert.EndsWith("line 19\n", File.ReadAllText(_folder["x.1.log"]));
        Assert.All(["x.1.log", "x.2.log"], file => Assert.InRange(new FileInfo(_folder[file]).Length, 1, 100));
        using (var log = new RotatingLog(_folder.Path, "x", TimeProvider.System, bytesMax: 1000, files: 3))
        {
            log.WriteLine("and on");
        }

        Assert.Contains("y\n", File.ReadAllText(_folder["x.log"]));
        Assert.EndsWith("and on\n", File.ReadAllText(_folder["x.log"]));
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        while (!condition())
        {
            await Task.Delay(10, Cancellation);
        }
    }

    private static TimeSpan Seconds(double seconds) => TimeSpan.FromSeconds(seconds);

    private static async Task<int> ProcessAsync(SupervisedChild child)
    {
        while (true)
        {
            if (child.ProcessId is { } process)
            {
                return process;
            }

            await Task.Delay(10, Cancellation);
        }
    }

    private SupervisedChild Start(string script, SupervisionSettings supervision) => new(
        new ChildProgram("child", "bash", ["-c", script], new Dictionary<string, string?>()), supervision, _folder.Path,
        TimeProvider.System, Say);

    private void Say(string text) => _said.Writer.TryWrite(text);

    private async Task LineAsync(string text)
    {
        while (!(await LogAsync()).Contains(text, StringComparison.Ordinal))
        {
            await Task.Delay(10, Cancellation);
        }
    }

    private async Task<string> LogAsync()
    {
        if (!File.Exists(_folder["child.log"]))
        {
            return "";
        }

        await using var file = new FileStream(
            _folder["child.log"], FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(file);
        return await reader.ReadToEndAsync(Cancellation);
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static async Task AnswerAsync(
        HttpListener listener, bool says, Action answered, CancellationToken sick)
    {
        try
        {
            while (true)
            {
                HttpListenerContext context = await listener.GetContextAsync();
                if (!sick.IsCancellationRequested || says)
                {
                    context.Response.StatusCode = sick.IsCancellationRequested ? 503 : 200;
                    context.Response.Close();
                    answered();
                }
            }
        }
        catch (Exception error) when (error is HttpListenerException or ObjectDisposedException)
        {
            // The test is over.
        }
    }
}

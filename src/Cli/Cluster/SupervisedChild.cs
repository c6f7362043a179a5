// A process that is kept alive: when it dies it is restarted, after a pause that grows if it dies repeatedly. Its
// standard input is a pipe that is never written to, so that a child that reads end-of-file knows that its supervisor
// has exited.
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace Atelier.Cli.Cluster;

/// <summary>A program to run.</summary>
/// <param name="Name">Its name in messages and logs.</param>
/// <param name="File">The executable.</param>
/// <param name="Arguments">Its arguments, without secrets, because every user of the machine can read them.</param>
/// <param name="Environment">Variables to set; a null value removes a variable.</param>
internal sealed record ChildProgram(
    string Name, string File, IReadOnlyList<string> Arguments, IReadOnlyDictionary<string, string?> Environment)
{
    /// <summary>URL of its liveness probe; null if it has none.</summary>
    public Uri? Live { get; init; }
}

/// <summary>Settings of the supervision of children.</summary>
internal sealed record SupervisionSettings
{
    /// <summary>Pause before a dead child is restarted.</summary>
    public TimeSpan PauseMin { get; init; } = TimeSpan.FromSeconds(0.2);

    /// <summary>Maximum pause; the pause doubles at each death.</summary>
    public TimeSpan PauseMax { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Running time after which the pause is reset to the shortest.</summary>
    public TimeSpan SteadyAfter { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a child may take to exit after a request.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Time between liveness probes.</summary>
    public TimeSpan ProbePeriod { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Timeout of a liveness probe.</summary>
    public TimeSpan ProbeTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// Time without a successful probe after which a child that was alive is considered hung: it is killed and
    /// restarted.
    /// </summary>
    public TimeSpan HungAfter { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>Time after which a child that was never alive is killed because its start hangs.</summary>
    public TimeSpan StartMax { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Number of consecutive probe responses reporting failure after which a child is restarted.</summary>
    public int SickAnswers { get; init; } = 3;

    /// <summary>Number of lines of standard error shown when a child dies.</summary>
    public int LinesShown { get; init; } = 10;

    /// <summary>Whether all output of the children is shown.</summary>
    public bool IsVerbose { get; init; }
}

/// <summary>The death of a child.</summary>
/// <param name="ExitCode">Its exit code; 128 plus the signal's number if a signal ended it.</param>
/// <param name="Count">Number of its deaths so far.</param>
/// <param name="LastLines">The last lines of its standard error.</param>
internal sealed record ChildDeath(int ExitCode, int Count, IReadOnlyList<string> LastLines);

/// <summary>A child process and its supervision.</summary>
internal sealed class SupervisedChild : IAsyncDisposable
{
    private const int SigTerm = 15;
    private const int CannotStart = 127;

    // A child is not considered hung before this many consecutive probes are unanswered: a busy machine may miss one.
    private const int SilentMin = 3;

    // Time limit for reading a dead process's pipes, which a grandchild may keep open forever.
    private static readonly TimeSpan s_lastWords = TimeSpan.FromSeconds(1);

    private static readonly HttpClient s_http = new();

    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly ChildProgram _program;
    private readonly SupervisionSettings _supervision;
    private readonly RotatingLog _log;
    private readonly TimeProvider _clock;
    private readonly Action<string> _say;
    private readonly Task _running;
    private Process? _process;

    /// <summary>Starts a child and its supervision.</summary>
    public SupervisedChild(
        ChildProgram program, SupervisionSettings supervision, string logFolder, TimeProvider clock, Action<string> say)
    {
        (_program, _supervision, _clock, _say) = (program, supervision, clock, say);
        _log = new RotatingLog(logFolder, program.Name, clock);
        _running = Task.Run(RunAsync);
    }

    /// <summary>Its name in messages and logs.</summary>
    public string Name => _program.Name;

    /// <summary>Its last death; null if it never died.</summary>
    public ChildDeath? LastDeath { get; private set; }

    /// <summary>Its process id while it runs.</summary>
    public int? ProcessId
    {
        get
        {
            lock (_gate)
            {
                return _process?.Id;
            }
        }
    }

    /// <summary>Asks the child to exit, and kills it if it has not exited within the grace period.</summary>
    public async Task StopAsync()
    {
        await _stopping.CancelAsync();
        Signal(SigTerm);
        try
        {
            await _running.WaitAsync(_supervision.Grace, _clock);
        }
        catch (TimeoutException)
        {
            _say($"{Name} did not exit within {_supervision.Grace.TotalSeconds:0.#} s; killing it");
            Kill();
            await EndAsync();
        }
    }

    /// <summary>Kills the child immediately; it is not restarted.</summary>
    public void Kill()
    {
        _stopping.Cancel();
        lock (_gate)
        {
            _process?.Kill(entireProcessTree: true);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        Kill();
        await EndAsync();
        _log.Dispose();
        _stopping.Dispose();
    }

    private Task EndAsync() => _running.WaitAsync(Timeout.InfiniteTimeSpan, _clock);

    private async Task RunAsync()
    {
        TimeSpan pause = _supervision.PauseMin;
        while (true)
        {
            long start = _clock.GetTimestamp();
            (int code, IReadOnlyList<string> last) = await RunOnceAsync();
            if (_stopping.IsCancellationRequested)
            {
                return;
            }

            pause = _clock.GetElapsedTime(start) >= _supervision.SteadyAfter ? _supervision.PauseMin : pause;
            LastDeath = new ChildDeath(code, (LastDeath?.Count ?? 0) + 1, last);
            string lines = string.Concat(last.Select(line => $"\n    {line}"));
            _say(
                $"{Name} exited with code {code}; restarting it in {pause.TotalSeconds:0.#} s; its log is "
                + $"{_log.Path}{lines}");
            try
            {
                await Task.Delay(pause, _clock, _stopping.Token);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            pause = TimeSpan.FromTicks(Math.Min(2 * pause.Ticks, _supervision.PauseMax.Ticks));
        }
    }

    private async Task<(int Code, IReadOnlyList<string> Last)> RunOnceAsync()
    {
        if (TryStart(out string? fault) is not { } process)
        {
            return (CannotStart, fault is null ? [] : [fault]);
        }

        var last = new Queue<string>();
        Task words = Task.WhenAll(PumpAsync(process.StandardOutput, null), PumpAsync(process.StandardError, last));
        using (var exited = new CancellationTokenSource())
        {
            Task watch = WatchAsync(process, exited.Token);
            await process.WaitForExitAsync();
            await exited.CancelAsync();
            await watch;
        }

        try
        {
            await words.WaitAsync(s_lastWords, _clock);
        }
        catch (TimeoutException)
        {
            // Later output goes to the log when it arrives.
        }

        lock (_gate)
        {
            _process = null;
            int code = process.ExitCode;
            process.Dispose();
            lock (last)
            {
                return (code, [.. last]);
            }
        }
    }

    // A process may hang without exiting: it may be stopped, out of threads, or waiting for a disk forever.
    private async Task WatchAsync(Process process, CancellationToken exited)
    {
        long alive = _clock.GetTimestamp();
        (bool hasStarted, int sick, int silent) = (false, 0, 0);
        try
        {
            while (_program.Live is { } live)
            {
                long asked = _clock.GetTimestamp();
                await Task.Delay(_supervision.ProbePeriod, _clock, exited);
                bool? answer = await AskAsync(live, exited);
                TimeSpan stall = 3 * (_supervision.ProbePeriod + _supervision.ProbeTimeout);
                if (answer == true || _clock.GetElapsedTime(asked) > stall)
                {
                    // The child is alive, or this process itself was suspended and cannot judge its children.
                    (alive, silent, hasStarted) = (_clock.GetTimestamp(), 0, hasStarted || answer == true);
                }

                silent = answer is null ? silent + 1 : 0;
                sick = answer == false && hasStarted ? sick + 1 : 0;
                TimeSpan patience = hasStarted ? _supervision.HungAfter : _supervision.StartMax;
                bool isHung = silent >= SilentMin && _clock.GetElapsedTime(alive) >= patience;
                if ((isHung || sick >= _supervision.SickAnswers) && !_stopping.IsCancellationRequested)
                {
                    _say(isHung
                        ? $"{Name} has not answered liveness probes for {patience.TotalSeconds:0.#} s; killing it"
                        : $"{Name} reports that it no longer works; killing it");
                    process.Kill(entireProcessTree: true);
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The child has already exited.
        }
        catch (InvalidOperationException)
        {
            // The child exited before it could be killed.
        }
    }

    // Whether the child's liveness probe reports success; null if it does not respond.
    private async Task<bool?> AskAsync(Uri live, CancellationToken exited)
    {
        using var late = new CancellationTokenSource(_supervision.ProbeTimeout, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, exited);
        try
        {
            using HttpResponseMessage answer = await s_http.GetAsync(live, either.Token);
            return answer.IsSuccessStatusCode;
        }
        catch (Exception error) when (error is HttpRequestException or OperationCanceledException)
        {
            exited.ThrowIfCancellationRequested();
            return null;
        }
    }

    private Process? TryStart(out string? fault)
    {
        var start = new ProcessStartInfo(_program.File, _program.Arguments)
        {
            UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8, StandardErrorEncoding = Encoding.UTF8,
        };
        foreach ((string name, string? value) in _program.Environment)
        {
            if (value is null)
            {
                start.Environment.Remove(name);
            }
            else
            {
                start.Environment[name] = value;
            }
        }

        lock (_gate)
        {
            // StopAsync and Kill use the same lock: either they see the child, or they prevent its start.
            fault = null;
            if (_stopping.IsCancellationRequested)
            {
                return null;
            }

            try
            {
                return _process = Process.Start(start);
            }
            catch (Win32Exception error)
            {
                fault = error.Message;
                return null;
            }
        }
    }

    private async Task PumpAsync(StreamReader reader, Queue<string>? last)
    {
        try
        {
            while (await reader.ReadLineAsync() is { } line)
            {
                Log(line);
                if (_supervision.IsVerbose)
                {
                    _say($"{Name}: {line}");
                }

                if (last is not null)
                {
                    Keep(last, line);
                }
            }
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            // The process has exited and closed its pipe.
        }
    }

    private void Log(string line)
    {
        try
        {
            _log.WriteLine(line);
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            // If the pipe were not read, the child would block. So on a full disk, only log lines are lost.
        }
    }

    private void Keep(Queue<string> last, string line)
    {
        lock (last)
        {
            last.Enqueue(line);
            if (last.Count > _supervision.LinesShown)
            {
                last.Dequeue();
            }
        }
    }

    private void Signal(int signal)
    {
        lock (_gate)
        {
            if (_process is { HasExited: false } process)
            {
                _ = SendSignal(process.Id, signal);
            }
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SendSignal(int process, int signal);
}

// A process that is kept alive: when it dies it is started again, after a pause that grows while it keeps dying. Its
// standard input is a pipe that is never written to: a child that reads its end knows that its supervisor is gone.
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace Atelier.Cli.Cluster;

/// <summary>A program to run.</summary>
/// <param name="Name">What it is called here.</param>
/// <param name="File">The executable.</param>
/// <param name="Arguments">Its arguments. Secrets are none: anybody on the machine can read them.</param>
/// <param name="Environment">Variables to set; those without a value are taken away.</param>
internal sealed record ChildProgram(
    string Name, string File, IReadOnlyList<string> Arguments, IReadOnlyDictionary<string, string?> Environment)
{
    /// <summary>Where it says that it is alive; null if it does not say.</summary>
    public Uri? Live { get; init; }
}

/// <summary>How children are kept alive.</summary>
internal sealed record Supervision
{
    /// <summary>Pause before a child that died is started again.</summary>
    public TimeSpan PauseMin { get; init; } = TimeSpan.FromSeconds(0.2);

    /// <summary>The pause doubles at each death, up to this.</summary>
    public TimeSpan PauseMax { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A child that ran as long as this begins with the shortest pause again.</summary>
    public TimeSpan SteadyAfter { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a child may take to end once it is told to.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often a child is asked whether it is alive.</summary>
    public TimeSpan ProbePeriod { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long its answer may take.</summary>
    public TimeSpan ProbeTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// A child that was alive and has not said so for this long is hung: it is killed, and restarted as after any
    /// death.
    /// </summary>
    public TimeSpan HungAfter { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>A child that has not said once that it is alive for this long is killed: its start hangs.</summary>
    public TimeSpan StartMax { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Answers in a row by which a child says itself that it must be started again.</summary>
    public int SickAnswers { get; init; } = 3;

    /// <summary>Lines of standard error that are shown of a child that died.</summary>
    public int LinesShown { get; init; } = 10;

    /// <summary>Whether all that children say is shown.</summary>
    public bool IsVerbose { get; init; }
}

/// <summary>How a child died.</summary>
/// <param name="ExitCode">Its exit code; 128 and the signal's number if one ended it.</param>
/// <param name="Count">How often it died so far.</param>
/// <param name="LastLines">What it said last.</param>
internal sealed record ChildDeath(int ExitCode, int Count, IReadOnlyList<string> LastLines);

/// <summary>A child and whoever starts it again.</summary>
internal sealed class SupervisedChild : IAsyncDisposable
{
    private const int SigTerm = 15;
    private const int CannotStart = 127;

    // Questions in a row without an answer: one may be lost to a busy machine.
    private const int SilentMin = 3;

    // What a dead process left in its pipes is read within this time; a grandchild may hold them open for ever.
    private static readonly TimeSpan s_lastWords = TimeSpan.FromSeconds(1);

    private static readonly HttpClient s_http = new();

    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly ChildProgram _program;
    private readonly Supervision _supervision;
    private readonly RotatingLog _log;
    private readonly TimeProvider _clock;
    private readonly Action<string> _say;
    private readonly Task _running;
    private Process? _process;

    /// <summary>Starts a child.</summary>
    public SupervisedChild(
        ChildProgram program, Supervision supervision, string logFolder, TimeProvider clock, Action<string> say)
    {
        (_program, _supervision, _clock, _say) = (program, supervision, clock, say);
        _log = new RotatingLog(logFolder, program.Name, clock);
        _running = Task.Run(RunAsync);
    }

    /// <summary>Its name.</summary>
    public string Name => _program.Name;

    /// <summary>How it died last; none if it never did.</summary>
    public ChildDeath? LastDeath { get; private set; }

    /// <summary>Number of its process while it runs.</summary>
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

    /// <summary>Tells the child to end, waits for the grace, and then ends it.</summary>
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
            _say($"{Name} did not end within {_supervision.Grace.TotalSeconds:0.#} s, and is killed");
            Kill();
            await EndAsync();
        }
    }

    /// <summary>Ends the child at once; it is not started again.</summary>
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
                $"{Name} ended with code {code} and is started again in {pause.TotalSeconds:0.#} s; its log is "
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
            // What comes later goes to the log as it comes.
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

    // A process may hang without dying: stopped, out of threads, or waiting for a disk for ever.
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
                    // It lives; or this process itself stood still, and can say nothing of its children.
                    (alive, silent, hasStarted) = (_clock.GetTimestamp(), 0, hasStarted || answer == true);
                }

                silent = answer is null ? silent + 1 : 0;
                sick = answer == false && hasStarted ? sick + 1 : 0;
                TimeSpan patience = hasStarted ? _supervision.HungAfter : _supervision.StartMax;
                bool isHung = silent >= SilentMin && _clock.GetElapsedTime(alive) >= patience;
                if ((isHung || sick >= _supervision.SickAnswers) && !_stopping.IsCancellationRequested)
                {
                    _say(isHung
                        ? $"{Name} has not said for {patience.TotalSeconds:0.#} s that it is alive, and is killed"
                        : $"{Name} says that it no longer works, and is killed");
                    process.Kill(entireProcessTree: true);
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            // It has ended by itself.
        }
        catch (InvalidOperationException)
        {
            // It ended before it could be killed.
        }
    }

    // Whether it says that it is alive; null if it does not answer.
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
            // Whoever stops it signals under the same lock: a child is either seen there, or never started.
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
            // The process is gone, and its pipe with it.
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
            // A child whose pipe nobody reads would stand still: a full disk costs its log alone.
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

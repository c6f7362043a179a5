// A pod and what a kubelet does for it: init containers, the container with its probes, restarts with growing pauses,
// and a termination within the grace period.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using k8s.Models;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

/// <summary>What a pod needs from its node.</summary>
internal sealed record PodNode(string Name, PodNetwork Network, PodSource Source, string Hosts, string Roots);

/// <summary>How a pod ended.</summary>
/// <param name="Pod">Its name.</param>
/// <param name="Time">Time from the deletion to the end of the process.</param>
/// <param name="ExitCode">The exit code of the process.</param>
/// <param name="IsKilled">Whether the grace period was over first.</param>
internal sealed record Termination(string Pod, TimeSpan Time, int ExitCode, bool IsKilled);

/// <summary>A pod with one container besides its init containers.</summary>
internal sealed class RunningPod(string name, string owner, int revision, V1PodSpec spec, PodNode node) : IDisposable
{
    private static readonly TimeSpan s_pauseMax = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan s_pauseMin = TimeSpan.FromSeconds(10);
    private static readonly HttpClient s_http = new(new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.Zero })
    {
        Timeout = Timeout.InfiniteTimeSpan,
    };

    private readonly CancellationTokenSource _deleted = new();
    private readonly TaskCompletionSource<Termination> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<string> _outputs = [];
    private Dictionary<string, string> _volumes = [];
    private ContainerProcess? _process;
    private string _network = "";
    private bool _isReady;
    private long _deletedAt;

    public string Name => name;

    /// <summary>The workload that it belongs to.</summary>
    public string Owner => owner;

    public int Revision => revision;

    public string Node => node.Name;

    public V1PodSpec Spec => spec;

    /// <summary>Its address; null before it has one.</summary>
    public IPAddress? Address { get; private set; }

    public bool IsTerminating => _deleted.IsCancellationRequested;

    /// <summary>Whether it may be an endpoint of services.</summary>
    public bool IsReady => _isReady && !IsTerminating;

    /// <summary>Whether it was ready at any time.</summary>
    public bool HasBeenReady { get; private set; }

    /// <summary>Why its container does not run, or null.</summary>
    public string? Waiting { get; private set; }

    /// <summary>How often its container was started again.</summary>
    public int Restarts { get; private set; }

    /// <summary>The end: after its deletion, or when its process has ended and must not be restarted.</summary>
    public Task<Termination> Ended => _ended.Task;

    /// <summary>How it ended, if it was deleted and is gone.</summary>
    public Termination? Termination { get; private set; }

    /// <summary>Names of the volumes that are claims of this pod alone.</summary>
    public IReadOnlyList<string> Claims { get; init; } = [];

    /// <summary>Called when it becomes ready, or is not ready anymore.</summary>
    public Action Changed { get; init; } = () => { };

    /// <summary>What all its containers wrote.</summary>
    public string Output
    {
        get
        {
            lock (_outputs)
            {
                return string.Concat(_outputs) + _process?.Output;
            }
        }
    }

    /// <summary>Starts it. It runs until it is deleted, or as long as its restart policy says.</summary>
    public async Task StartAsync()
    {
        try
        {
            Termination end = await RunAsync();
            Termination = IsTerminating ? end : null;
            _ended.SetResult(end);
        }
        catch (Exception error)
        {
            _ended.SetException(error);
        }
    }

    /// <summary>Deletes the pod: its container is asked to stop, and is killed after the grace period.</summary>
    public Task<Termination> DeleteAsync()
    {
        if (!IsTerminating)
        {
            _deletedAt = Stopwatch.GetTimestamp();
            _ = _deleted.CancelAsync();
            Changed();
        }

        return Ended;
    }

    /// <summary>kill -9 of the container's process, as if it had crashed.</summary>
    public Task KillAsync() => _process?.SignalAsync(Linux.Kill) ?? Task.CompletedTask;

    public void Dispose() => _deleted.Dispose();

    private async Task<Termination> RunAsync()
    {
        await Task.Yield();
        (_network, Address) = await node.Network.AddPodAsync();
        Changed();
        _volumes = await node.Source.VolumesAsync(spec, name, Claims);
        bool restarts = spec.RestartPolicy != "Never";
        foreach (V1Container container in spec.InitContainers ?? [])
        {
            await RunOnceOrMoreAsync(container, code => restarts && code != 0);
        }

        Termination end = await RunOnceOrMoreAsync(Assert.Single(spec.Containers), _ => restarts);
        await node.Network.RemovePodAsync(_network);
        node.Source.Remove(name);
        Changed();
        return end;
    }

    // Crashes are followed by pauses of 0, 10, 20, 40 s and so on.
    private async Task<Termination> RunOnceOrMoreAsync(V1Container container, Func<int, bool> again)
    {
        TimeSpan pause = TimeSpan.Zero;
        var end = new Termination(name, TimeSpan.Zero, 0, false);
        while (!IsTerminating)
        {
            ContainerProcess? process = null;
            try
            {
                process = Create(container);
            }
            catch (InvalidOperationException error)
            {
                Waiting = $"CreateContainerConfigError: {error.Message}";
            }

            if (process is not null)
            {
                using (process)
                {
                    end = await WatchAsync(container, process);
                    lock (_outputs)
                    {
                        _outputs.Add(process.Output);
                        _process = null;
                    }
                }

                if (IsTerminating || !again(end.ExitCode))
                {
                    break;
                }

                Waiting = $"CrashLoopBackOff: exit code {end.ExitCode}";
                Restarts++;
            }

            await Task.Delay(pause, _deleted.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            pause = pause == TimeSpan.Zero ? s_pauseMin : 2 * pause < s_pauseMax ? 2 * pause : s_pauseMax;
        }

        return end;
    }

    private ContainerProcess Create(V1Container container)
    {
        var image = Image.Of(container.Image);
        Dictionary<string, string> own = node.Source.Variables(container, name, $"{Address}");
        string[] arguments = [.. (container.Args ?? []).Select(argument => PodSource.Expand(argument, own))];
        string[] entrypoint = container.Command is { } command
            ? [.. command.Select(word => PodSource.Expand(word, own))] : image.Entrypoint;
        var variables = new Dictionary<string, string>(image.Variables, StringComparer.Ordinal);
        foreach ((string key, string value) in own)
        {
            variables[key] = value;
        }

        // eatmydata, if the tests are run with it.
        if (Environment.GetEnvironmentVariable("LD_PRELOAD") is { } preload)
        {
            variables["LD_PRELOAD"] = preload;
        }

        var start = new ContainerStart
        {
            HostName = name, Network = _network, Command = [.. entrypoint, .. arguments],
            Variables = variables,
            WorkingDirectory = image.WorkingDirectory, Hosts = node.Hosts,
            Mounts =
            [
                .. image.Files.Select(files => new Mount(files.Source, files.Target, IsReadOnly: true)),
                .. (container.VolumeMounts ?? []).Select(mount => new Mount(
                    Path.Combine(_volumes[mount.Name], mount.SubPath ?? ""), mount.MountPath,
                    mount.ReadOnlyProperty == true)),
            ],
            User = spec.SecurityContext.RunAsUser!.Value, Group = spec.SecurityContext.RunAsGroup!.Value,
            VolumeGroup = spec.SecurityContext.FsGroup!.Value,
        };
        var process = ContainerProcess.Start(start, Path.Combine(node.Roots, $"{name}-{container.Name}"));
        Waiting = null;
        lock (_outputs)
        {
            _process = process;
        }

        return process;
    }

    // Probes the container until it ends; ends it when it is deleted or its probes fail.
    private async Task<Termination> WatchAsync(V1Container container, ContainerProcess process)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(_deleted.Token);
        Task<bool> probes = ProbeAsync(container, process, over.Token);
        Task deleted = Task.Delay(Timeout.Infinite, over.Token);
        await Task.WhenAny(process.Exit, probes, deleted);
        bool isEnded = process.Exit.IsCompleted;
        await over.CancelAsync();
        SetReady(false);
        Termination end = isEnded
            ? new Termination(name, TimeSpan.Zero, await process.Exit, false)
            : await TerminateAsync(container, process);
        await probes;
        return end;
    }

    private async Task<Termination> TerminateAsync(V1Container container, ContainerProcess process)
    {
        long began = IsTerminating ? _deletedAt : Stopwatch.GetTimestamp();
        var grace = TimeSpan.FromSeconds(spec.TerminationGracePeriodSeconds ?? 30);
        if (container.Lifecycle?.PreStop is { } hook)
        {
            Task before = hook.Sleep is { } sleep
                ? Task.Delay(TimeSpan.FromSeconds(sleep.Seconds)) : process.ExecAsync(hook.Exec.Command, grace);
            await Task.WhenAny(before, process.Exit, Task.Delay(grace));
        }

        await process.SignalAsync(Linux.Terminate);

        // The grace period includes the hook; at least 2 s are left after it.
        TimeSpan left = grace - Stopwatch.GetElapsedTime(began);
        await Task.WhenAny(process.Exit, Task.Delay(left > TimeSpan.FromSeconds(2) ? left : TimeSpan.FromSeconds(2)));
        bool isKilled = !process.Exit.IsCompleted;
        await process.SignalAsync(Linux.Kill);
        int code = await process.Exit;
        return new Termination(name, Stopwatch.GetElapsedTime(began), code, isKilled);
    }

    // Ends when the container must be ended: by a probe, or because the probes are cancelled.
    private async Task<bool> ProbeAsync(V1Container container, ContainerProcess process, CancellationToken over)
    {
        if (container.StartupProbe is { } startup
            && !await LoopAsync(startup, container, process, untilSuccess: true, _ => { }, over))
        {
            return false;
        }

        Task<bool> liveness = container.LivenessProbe is { } live
            ? LoopAsync(live, container, process, untilSuccess: false, _ => { }, over)
            : Task.Delay(Timeout.Infinite, over).ContinueWith(_ => false, TaskScheduler.Default);
        if (container.ReadinessProbe is { } readiness)
        {
            await Task.WhenAny(liveness, LoopAsync(readiness, container, process, false, SetReady, over, ends: false));
        }
        else
        {
            SetReady(spec.Containers.Contains(container));
        }

        return await liveness;
    }

    // Returns whether the probe has succeeded, once it has or has failed as often as it may.
    private async Task<bool> LoopAsync(
        V1Probe probe, V1Container container, ContainerProcess process, bool untilSuccess, Action<bool> set,
        CancellationToken over, bool ends = true)
    {
        var period = TimeSpan.FromSeconds(probe.PeriodSeconds ?? 10);
        await Task.Delay(TimeSpan.FromSeconds(probe.InitialDelaySeconds ?? 0), over)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        int failures = 0;
        while (!over.IsCancellationRequested)
        {
            bool isGood = await AskAsync(probe, container, process);
            failures = isGood ? 0 : failures + 1;
            if (isGood && untilSuccess)
            {
                return true;
            }

            bool isFailed = failures >= (probe.FailureThreshold ?? 3);
            if (isFailed && ends)
            {
                lock (_outputs)
                {
                    _outputs.Add($"[{name}: a probe failed {failures} times; the container is restarted]\n");
                }

                return false;
            }

            if ((isGood || isFailed) && !over.IsCancellationRequested)
            {
                set(isGood);
            }

            await Task.Delay(period, over).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return false;
    }

    private async Task<bool> AskAsync(V1Probe probe, V1Container container, ContainerProcess process)
    {
        var time = TimeSpan.FromSeconds(probe.TimeoutSeconds ?? 1);
        if (probe.Exec is { } exec)
        {
            return await process.ExecAsync(exec.Command, time);
        }

        using var late = new CancellationTokenSource(time);
        try
        {
            if (probe.HttpGet is { } get)
            {
                using HttpResponseMessage answer = await s_http.GetAsync(
                    new Uri($"http://{Address}:{PortOf(container, get.Port.Value)}{get.Path}"), late.Token);
                return (int)answer.StatusCode is >= 200 and < 400;
            }

            using var client = new TcpClient();
            await client.ConnectAsync(Address!, PortOf(container, probe.TcpSocket.Port.Value), late.Token);
            return true;
        }
        catch (Exception error) when (error is HttpRequestException or SocketException or OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>The number of a container's port, by its number or name.</summary>
    public static int PortOf(V1Container container, string port) => int.TryParse(port, out int number)
        ? number : container.Ports.Single(one => one.Name == port).ContainerPort;

    private void SetReady(bool isReady)
    {
        if (_isReady != isReady)
        {
            _isReady = isReady;
            HasBeenReady |= isReady;
            Changed();
        }
    }
}

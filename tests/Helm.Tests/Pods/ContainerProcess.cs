// A container: a process that is the first of its process namespace, with a root folder made of the image's files and
// the volumes, the user of the security context, no capabilities, and the network namespace of its pod.
using System.Diagnostics;
using System.Text;

namespace Atelier.Helm.Tests.Pods;

/// <summary>What a container is started with.</summary>
internal sealed record ContainerStart
{
    /// <summary>Name of the pod, which is the host name.</summary>
    public required string HostName { get; init; }

    /// <summary>Name of the network namespace.</summary>
    public required string Network { get; init; }

    /// <summary>The program and its arguments.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    public required IReadOnlyDictionary<string, string> Variables { get; init; }

    public required string WorkingDirectory { get; init; }

    /// <summary>Mounts; those of the image come before those of the pod.</summary>
    public required IReadOnlyList<Mount> Mounts { get; init; }

    /// <summary>The file that becomes /etc/hosts.</summary>
    public required string Hosts { get; init; }

    public required long User { get; init; }

    public required long Group { get; init; }

    /// <summary>The group of the volumes.</summary>
    public required long VolumeGroup { get; init; }
}

/// <summary>A folder of this machine in a container.</summary>
internal sealed record Mount(string Source, string Target, bool IsReadOnly);

/// <summary>A running container.</summary>
internal sealed class ContainerProcess : IDisposable
{
    private const int OutputMax = 1 << 20;

    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly ContainerStart _start;
    private readonly Task<int?> _id;

    private ContainerProcess(ContainerStart start, string root)
    {
        _start = start;
        var info = new ProcessStartInfo("ip")
        {
            UseShellExecute = false, WorkingDirectory = "/", RedirectStandardInput = true,
            RedirectStandardOutput = true, RedirectStandardError = true,
            ArgumentList =
            {
                "netns", "exec", start.Network, "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child",
                "sh", "-c", Script(start, root),
            },
        };
        info.Environment.Clear();
        foreach ((string name, string value) in start.Variables)
        {
            info.Environment[name] = value;
        }

        _process = new Process { StartInfo = info };
        _process.OutputDataReceived += (_, line) => Keep(line.Data);
        _process.ErrorDataReceived += (_, line) => Keep(line.Data);
        _process.Start();
        _process.StandardInput.Close();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        _id = Linux.ChildAsync(_process.Id);
        Exit = EndAsync();
    }

    /// <summary>Starts a container. Its root folder is an empty folder of this machine.</summary>
    public static ContainerProcess Start(ContainerStart start, string root)
    {
        Directory.CreateDirectory(root);
        return new ContainerProcess(start, root);
    }

    /// <summary>The exit code, once it has ended; 128 and the signal's number if a signal ended it.</summary>
    public Task<int> Exit { get; }

    /// <summary>What it wrote so far.</summary>
    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    /// <summary>Sends a signal to the container's first process.</summary>
    public async Task SignalAsync(int signal)
    {
        if (await _id is { } id && !Exit.IsCompleted)
        {
            Linux.Signal(id, signal);
        }
    }

    /// <summary>Runs a command in the container, as its user.</summary>
    /// <returns>Whether it ended with 0 within the time.</returns>
    public async Task<bool> ExecAsync(IEnumerable<string> command, TimeSpan time)
    {
        if (await _id is not { } id)
        {
            return false;
        }

        var info = new ProcessStartInfo(
            "timeout",
            [
                $"{time.TotalSeconds}", "nsenter", "--target", $"{id}", "--mount", "--pid", "--net", "--uts", "--root",
                "--wd=/", .. User(_start), .. command,
            ])
        {
            UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        info.Environment.Clear();
        foreach ((string name, string value) in _start.Variables)
        {
            info.Environment[name] = value;
        }

        using Process process = Process.Start(info)!;
        Task output = Task.WhenAll(process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        await output;
        return process.ExitCode == 0;
    }

    public void Dispose() => _process.Dispose();

    private static string[] User(ContainerStart start) =>
    [
        "setpriv", "--reuid", $"{start.User}", "--regid", $"{start.Group}", "--groups", $"{start.VolumeGroup}",
        "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--",
    ];

    // The root folder is a file system in memory that is read-only in the end. Mounts vanish with the namespace.
    private static string Script(ContainerStart start, string root)
    {
        var script = new StringBuilder($"""
            set -e
            mount --make-rprivate /
            mount -t tmpfs -o mode=755 tmpfs {Quoted(root)}
            cd {Quoted(root)}
            mkdir usr etc proc sys dev
            for name in bin sbin lib lib64; do cp -P /$name $name; done
            mount --bind -o ro /usr usr
            mount --bind -o ro /etc etc
            mount --bind -o ro {Quoted(start.Hosts)} etc/hosts
            mount -t proc proc proc
            mount --rbind /sys sys
            mount -t tmpfs -o mode=755 tmpfs dev
            for name in null zero full random urandom; do touch dev/$name; mount --bind /dev/$name dev/$name; done
            ln -s /proc/self/fd dev/fd
            mkdir -m 1777 dev/shm
            hostname {Quoted(start.HostName)}

            """);
        script.Append($"mkdir -p .{Quoted(start.WorkingDirectory)}\n");
        foreach (Mount mount in start.Mounts)
        {
            script.Append($"mkdir -p .{Quoted(mount.Target)}\n");
            script.Append(
                $"mount --bind {(mount.IsReadOnly ? "-o ro" : "")} {Quoted(mount.Source)} .{Quoted(mount.Target)}\n");
        }

        string[] command =
        [
            "exec", "chroot", root, .. User(start), "env", $"--chdir={start.WorkingDirectory}", .. start.Command,
        ];
        script.Append("mount -o remount,ro,mode=755 .\n");
        script.Append(string.Join(' ', command.Select((word, i) => i == 0 ? word : Quoted(word))));
        return script.ToString();
    }

    private static string Quoted(string text) => $"'{text.Replace("'", @"'\''", StringComparison.Ordinal)}'";

    private async Task<int> EndAsync()
    {
        await _process.WaitForExitAsync();
        return _process.ExitCode;
    }

    private void Keep(string? line)
    {
        lock (_output)
        {
            if (line is not null && _output.Length < OutputMax)
            {
                _output.AppendLine(line);
            }
        }
    }
}

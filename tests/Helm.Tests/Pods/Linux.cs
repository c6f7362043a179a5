// What the runner of pods needs of Linux: signals, and namespaces.
using System.Runtime.InteropServices;

namespace Atelier.Helm.Tests.Pods;

internal static partial class Linux
{
    public const int Kill = 9;
    public const int Terminate = 15;

    private static readonly string[] s_tools = ["ip", "unshare", "nsenter", "setpriv", "redis-server", "redis-cli"];

    /// <summary>Why pods cannot run on this machine; null if they can.</summary>
    public static async Task<string?> ObstacleAsync()
    {
        if (!Environment.IsPrivilegedProcess)
        {
            return "Pods need network and mount namespaces, which only root can create.";
        }

        foreach (string tool in s_tools)
        {
            if ((await Tool.RunAsync("sh", ["-c", $"command -v {tool}"])).Code != 0)
            {
                return $"{tool} is not installed; ./atelier test installs it.";
            }
        }

        (int code, _, string error) = await Tool.RunAsync(
            "unshare",
            [
                "--net", "--mount", "--pid", "--uts", "--fork", "sh", "-c",
                "ip link add type bridge && ip link add type veth && mount -t tmpfs tmpfs /mnt",
            ]);
        return code == 0 ? null : $"Pods need namespaces, bridges and mounts, which this machine refuses: {error}";
    }

    /// <summary>Sends a signal; a process that has ended ignores it.</summary>
    public static void Signal(int process, int signal) => _ = SendSignal(process, signal);

    /// <summary>The first child of a process, once it has one; null if the process ended before.</summary>
    public static async Task<int?> ChildAsync(int process)
    {
        string file = $"/proc/{process}/task/{process}/children";
        try
        {
            while (true)
            {
                string children = await File.ReadAllTextAsync(file);
                if (children.Split(' ')[0] is { Length: > 0 } first)
                {
                    return int.Parse(first);
                }

                await Task.Delay(5);
            }
        }
        catch (IOException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int SendSignal(int process, int signal);
}

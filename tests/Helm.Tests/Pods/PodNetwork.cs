// A network of pods: a bridge on this machine, and for each pod a network namespace with an address of its own, so that
// all pods can listen on the same ports at 0.0.0.0.
using System.Globalization;
using System.Net;

namespace Atelier.Helm.Tests.Pods;

/// <summary>A bridge and the pods on it. Addresses are from the range that RFC 2544 reserves for tests.</summary>
internal sealed class PodNetwork : IAsyncDisposable
{
    private const string Prefix = "atl";
    private const int SubnetsMax = 512;
    private static int s_networks, s_links;

    private readonly string _bridge;
    private readonly string _subnet;
    private readonly HashSet<string> _pods = new(StringComparer.Ordinal);
    private int _hosts = 1;

    private PodNetwork(int number)
    {
        _bridge = $"{Prefix}{Environment.ProcessId}-{number}";
        int subnet = (Environment.ProcessId + (number * 97)) % SubnetsMax;
        _subnet = $"198.{18 + (subnet / 256)}.{subnet % 256}";
    }

    /// <summary>Makes the bridge, and removes what test processes that were killed have left.</summary>
    public static async Task<PodNetwork> CreateAsync()
    {
        await RemoveLeftoversAsync();
        var network = new PodNetwork(Interlocked.Increment(ref s_networks));
        await IpAsync(
            $"link add {network._bridge} type bridge", $"addr add {network._subnet}.1/24 dev {network._bridge}",
            $"link set {network._bridge} up");
        return network;
    }

    /// <summary>Adds a pod's namespace.</summary>
    public async Task<(string Namespace, IPAddress Address)> AddPodAsync()
    {
        int link = Interlocked.Increment(ref s_links);
        string name = $"{Prefix}{Environment.ProcessId}-{link}", address = NextAddress();
        await IpAsync(
            $"netns add {name}",
            $"link add v{Environment.ProcessId:x}-{link:x} master {_bridge} type veth peer name eth0 netns {name}",
            $"link set v{Environment.ProcessId:x}-{link:x} up");
        await RunAsync(
            ["-n", name], [$"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"]);
        lock (_pods)
        {
            _pods.Add(name);
        }

        return (name, IPAddress.Parse(address));
    }

    /// <summary>Removes a pod's namespace and its address.</summary>
    public async Task RemovePodAsync(string name)
    {
        lock (_pods)
        {
            _pods.Remove(name);
        }

        await IpAsync($"netns delete {name}");
    }

    /// <summary>Adds an address that this process can listen at, for a service.</summary>
    public async Task<IPAddress> AddServiceAsync()
    {
        string address = NextAddress();
        await IpAsync($"addr add {address}/32 dev {_bridge}");
        return IPAddress.Parse(address);
    }

    public async ValueTask DisposeAsync() => await RunAsync(
        [], [.. _pods.Select(name => $"netns delete {name}"), $"link delete {_bridge}"]);

    private string NextAddress()
    {
        int host = Interlocked.Increment(ref _hosts);
        return host < 255 ? $"{_subnet}.{host}" : throw new InvalidOperationException("The network is full.");
    }

    private static async Task RemoveLeftoversAsync()
    {
        foreach (string folder in new[] { "/run/netns", "/sys/class/net" }.Where(Directory.Exists))
        {
            foreach (string name in Directory.GetFileSystemEntries(folder, $"{Prefix}*-*")
                .Select(path => Path.GetFileName(path)))
            {
                string owner = name[Prefix.Length..name.IndexOf('-', StringComparison.Ordinal)];
                if (!int.TryParse(owner, CultureInfo.InvariantCulture, out _) || Directory.Exists($"/proc/{owner}"))
                {
                    continue;
                }

                string removal = folder == "/run/netns"
                    ? $"ip netns pids {name} | xargs -r kill -9; ip netns delete {name}" : $"ip link delete {name}";
                await Tool.RunAsync("sh", ["-c", removal]);
            }
        }
    }

    private static Task IpAsync(params string[] commands) => RunAsync([], commands);

    private static async Task RunAsync(string[] options, string[] commands)
    {
        (int code, _, string error) = await Tool.RunAsync(
            "ip", [.. options, "-batch", "-"], input: string.Join('\n', commands) + "\n");
        if (code != 0)
        {
            throw new InvalidOperationException($"ip {string.Join("; ", commands)}: {error}");
        }
    }
}

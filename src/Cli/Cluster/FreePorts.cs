// Free ports on the loopback address.
using System.Net;
using System.Net.Sockets;

namespace Atelier.Cli.Cluster;

/// <summary>Allocates free ports, each at most once.</summary>
internal sealed class FreePorts
{
    private readonly HashSet<int> _given = [];

    /// <summary>Whether a port is currently free.</summary>
    public static bool IsFree(int port)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Loopback, port);
            listener.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Allocates a given port; false if it is not free.</summary>
    public bool TryTake(int port) => IsFree(port) && _given.Add(port);

    /// <summary>
    /// Allocates the port of an earlier run if there is one and it is free, otherwise the next free port from
    /// <paramref name="start"/> on.
    /// </summary>
    public int Take(int earlier, int start)
    {
        if (earlier != 0 && TryTake(earlier))
        {
            return earlier;
        }

        for (int port = start; port <= ushort.MaxValue; port++)
        {
            if (TryTake(port))
            {
                return port;
            }
        }

        throw new UserErrorException($"All ports from {start} to {ushort.MaxValue} are in use.");
    }
}

// Ports on the loopback address that nobody listens on.
using System.Net;
using System.Net.Sockets;

namespace Atelier.Cli.Cluster;

/// <summary>Gives ports away, none twice.</summary>
internal sealed class FreePorts
{
    private readonly HashSet<int> _given = [];

    /// <summary>Whether nobody listens on a port now.</summary>
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

    /// <summary>Takes a port that must be this one; false if it is not free.</summary>
    public bool TryTake(int port) => IsFree(port) && _given.Add(port);

    /// <summary>
    /// The port of an earlier run if there was one and it is free, otherwise the next free one from a start.
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

        throw new UserErrorException($"No port from {start} on is free on this machine.");
    }
}

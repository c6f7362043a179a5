// Log events of the connections between trainers. Anybody who can reach the port can cause these events. At most one
// line of each kind is therefore written per minute, with the number of events since the previous line.
using System.Net;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>Writes log events of connections.</summary>
internal sealed partial class PeerLog(TimeProvider clock, ILogger logger)
{
    private static readonly TimeSpan s_period = TimeSpan.FromMinutes(1);

    private readonly Limit _refused = new(), _unreached = new(), _ended = new(), _notAccepted = new();

    /// <summary>Logs that a dialer was refused.</summary>
    public void Refused(EndPoint? peer, string reason)
    {
        if (Passes(_refused, out int count))
        {
            LogRefused(count, peer, reason);
        }
    }

    /// <summary>Logs that an attempt to connect failed.</summary>
    public void Unreached(TrainerId peer, string address, string reason)
    {
        if (Passes(_unreached, out int count))
        {
            LogUnreached(count, peer, address, reason);
        }
    }

    /// <summary>Logs that a connection has ended.</summary>
    public void Ended(TrainerId peer, string reason)
    {
        if (Passes(_ended, out int count))
        {
            LogEnded(count, peer, reason);
        }
    }

    /// <summary>Logs that the port could not accept a connection, for example because of too many open files.</summary>
    public void NotAccepted(string reason)
    {
        if (Passes(_notAccepted, out int count))
        {
            LogNotAccepted(count, reason);
        }
    }

    private bool Passes(Limit limit, out int count)
    {
        lock (limit)
        {
            limit.Count++;
            if (limit.WrittenAt is { } at && clock.GetElapsedTime(at) < s_period)
            {
                count = 0;
                return false;
            }

            (count, limit.Count, limit.WrittenAt) = (limit.Count, 0, clock.GetTimestamp());
            return true;
        }
    }

    private sealed class Limit
    {
        public int Count { get; set; }

        public long? WrittenAt { get; set; }
    }
}

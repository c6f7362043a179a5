// Log events of the connections between trainers. Anybody who reaches the port can cause them, so one line of each kind
// is written in a minute, with the number since the last one.
using System.Net;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>Writes log events of connections.</summary>
internal sealed partial class PeerLog(TimeProvider clock, ILogger logger)
{
    private static readonly TimeSpan s_period = TimeSpan.FromMinutes(1);

    private readonly Limit _refused = new(), _unreached = new(), _ended = new();

    /// <summary>A dialer was refused.</summary>
    public void Refused(EndPoint? peer, string reason)
    {
        if (Passes(_refused, out int count))
        {
            LogRefused(count, peer, reason);
        }
    }

    /// <summary>An attempt to connect failed.</summary>
    public void Unreached(TrainerId peer, string address, string reason)
    {
        if (Passes(_unreached, out int count))
        {
            LogUnreached(count, peer, address, reason);
        }
    }

    /// <summary>A connection has ended.</summary>
    public void Ended(TrainerId peer, string reason)
    {
        if (Passes(_ended, out int count))
        {
            LogEnded(count, peer, reason);
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

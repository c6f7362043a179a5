// Who a trainer's peers are, and the one connection to each of them.
//
// Of two members the one with the lower id dials. A trainer outside of the world dials all members. While both are
// about to change sides, each may dial the other at once: then the attempt of the lower one counts. A hello carries the
// number of its attempt, and an answer the number of the answerer's own last attempt to that peer, which is void from
// then on even if it is still on its way.
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>A peer.</summary>
/// <param name="id">Its id.</param>
internal sealed class Peer(TrainerId id)
{
    public TrainerId Id => id;

    /// <summary>Where it listens; null if it is not named and may only dial this trainer.</summary>
    public string? Address { get; set; }

    /// <summary>The connection; null if there is none.</summary>
    public PeerConnection? Connection { get; set; }

    /// <summary>The end of the connection before, whose last event may be under way.</summary>
    public Task LastEnd { get; set; } = Task.CompletedTask;

    /// <summary>What waits for the next connection.</summary>
    public SendQueue? Waiting { get; set; }

    /// <summary>Since when it is named and without a connection.</summary>
    public long DownSince { get; set; }

    /// <summary>Ends the attempts to connect; null if this trainer does not dial.</summary>
    public CancellationTokenSource? Dialing { get; set; }

    /// <summary>Number of the last attempt whose hello was sent.</summary>
    public long SentAttempt { get; set; }

    /// <summary>The attempt whose hello waits for its answer; 0 if none does.</summary>
    public long HelloOut { get; set; }

    /// <summary>Attempts of the peer up to this number are void.</summary>
    public long VoidAttempt { get; set; }
}

/// <summary>The peers. The caller holds the lock of the table while it uses it.</summary>
/// <param name="self">The trainer.</param>
/// <param name="connectionsMax">The most connections; those to named peers are made beyond it.</param>
internal sealed class PeerTable(TrainerId self, int connectionsMax)
{
    private readonly Dictionary<TrainerId, Peer> _peers = [];

    /// <summary>All of them.</summary>
    public IReadOnlyCollection<Peer> All => _peers.Values;

    /// <summary>Whether this trainer is a member of the world.</summary>
    public bool IsMember { get; set; }

    /// <summary>The peer, or null.</summary>
    public Peer? Find(TrainerId id) => _peers.GetValueOrDefault(id);

    /// <summary>The peer, which is added if it is new.</summary>
    public Peer Get(TrainerId id)
    {
        if (!_peers.TryGetValue(id, out Peer? peer))
        {
            _peers.Add(id, peer = new Peer(id));
        }

        return peer;
    }

    /// <summary>Forgets a peer that is neither named nor connected.</summary>
    public void Tidy(Peer peer)
    {
        if (peer is { Address: null, Connection: null, LastEnd.IsCompleted: true, HelloOut: 0 })
        {
            _peers.Remove(peer.Id);
        }
    }

    /// <summary>Whether this trainer dials a named peer.</summary>
    public bool Dials(TrainerId peer) => !IsMember || IsLower(peer);

    /// <summary>What a dialer is told.</summary>
    public PeerAnswer Judge(PeerHello? hello, string stage)
    {
        if (hello is null)
        {
            return PeerAnswer.OtherVersion;
        }

        if (hello.Stage != stage)
        {
            return PeerAnswer.OtherStage;
        }

        if (hello.To != self || hello.From == self)
        {
            return PeerAnswer.OtherTrainer;
        }

        if (_peers.Keys.Append(self).Any(
            id => id.Name == hello.From.Name && id.Incarnation > hello.From.Incarnation))
        {
            return PeerAnswer.Stale;
        }

        Peer? known = Find(hello.From);
        return known is not null
            && ((known.HelloOut != 0 && IsLower(hello.From)) || hello.Attempt <= known.VoidAttempt) ? PeerAnswer.Crossed
            : known is null && _peers.Values.Count(peer => peer.Connection is not null) >= connectionsMax
                ? PeerAnswer.Full
            : PeerAnswer.Accepted;
    }

    /// <summary>Connections that one to a peer replaces: an older one, and those to processes before it.</summary>
    public PeerConnection[] ReplacedBy(TrainerId id) =>
    [
        .. _peers.Values.Where(peer => peer.Id.Name == id.Name && peer.Id.Incarnation <= id.Incarnation)
            .Select(peer => peer.Connection).OfType<PeerConnection>(),
    ];

    private bool IsLower(TrainerId peer) => TrainerId.Order.Compare(self, peer) < 0;
}

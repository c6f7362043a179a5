// A trainer's peers, and the one connection to each of them.
//
// Of two members, the one with the lower id dials the other. A trainer that is not a member dials all members. During a
// change of world, two trainers may dial each other at the same time; then the attempt of the trainer with the lower id
// counts. A hello contains the number of its attempt. An answer contains the number of the answering trainer's own last
// attempt to that peer; this attempt is void from then on, even if it is still in transit.
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>A peer of a trainer.</summary>
/// <param name="id">Id of the peer.</param>
internal sealed class Peer(TrainerId id)
{
    public TrainerId Id => id;

    /// <summary>
    /// Address on which the peer listens; null if the peer is not a member and may only dial this trainer.
    /// </summary>
    public string? Address { get; set; }

    /// <summary>The connection; null if there is none.</summary>
    public PeerConnection? Connection { get; set; }

    /// <summary>Completes when the previous connection has ended, after its last event.</summary>
    public Task LastEnd { get; set; } = Task.CompletedTask;

    /// <summary>The frames that wait for the next connection; null if there are none.</summary>
    public SendQueue? Waiting { get; set; }

    /// <summary>Timestamp since which a peer with an address has had no connection.</summary>
    public long DownSince { get; set; }

    /// <summary>Cancels the attempts to connect; null if this trainer does not dial the peer.</summary>
    public CancellationTokenSource? Dialing { get; set; }

    /// <summary>Number of the last attempt whose hello was sent.</summary>
    public long SentAttempt { get; set; }

    /// <summary>Number of the attempt whose hello has not been answered yet; 0 if there is none.</summary>
    public long HelloOut { get; set; }

    /// <summary>Attempts of the peer up to this number are void.</summary>
    public long VoidAttempt { get; set; }
}

/// <summary>The peers of a trainer. Not thread-safe: the caller must hold a lock.</summary>
/// <param name="self">This trainer.</param>
/// <param name="connectionsMax">Maximum number of connections; known peers are accepted beyond it.</param>
internal sealed class PeerTable(TrainerId self, int connectionsMax)
{
    private readonly Dictionary<TrainerId, Peer> _peers = [];

    /// <summary>All peers.</summary>
    public IReadOnlyCollection<Peer> All => _peers.Values;

    /// <summary>Whether this trainer is a member of the world.</summary>
    public bool IsMember { get; set; }

    /// <summary>Finds a peer; null if it is unknown.</summary>
    public Peer? Find(TrainerId id) => _peers.GetValueOrDefault(id);

    /// <summary>Returns a peer, and adds it if it is unknown.</summary>
    public Peer Get(TrainerId id)
    {
        if (!_peers.TryGetValue(id, out Peer? peer))
        {
            _peers.Add(id, peer = new Peer(id));
        }

        return peer;
    }

    /// <summary>Removes a peer that has neither an address nor a connection.</summary>
    /// <param name="peer">The peer; if it was removed before, its successor with the same id stays.</param>
    public void Tidy(Peer peer)
    {
        if (peer is { Address: null, Connection: null, LastEnd.IsCompleted: true, HelloOut: 0 }
            && ReferenceEquals(Find(peer.Id), peer))
        {
            _peers.Remove(peer.Id);
        }
    }

    /// <summary>Whether this trainer dials the given member of the world.</summary>
    public bool Dials(TrainerId peer) => !IsMember || IsLower(peer);

    /// <summary>Decides the answer to a dialer's hello.</summary>
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

    /// <summary>
    /// The connections that a new connection to a peer replaces: the older one to the same peer, and those to earlier
    /// processes with the same name.
    /// </summary>
    public PeerConnection[] ReplacedBy(TrainerId id) =>
    [
        .. _peers.Values.Where(peer => peer.Id.Name == id.Name && peer.Id.Incarnation <= id.Incarnation)
            .Select(peer => peer.Connection).OfType<PeerConnection>(),
    ];

    private bool IsLower(TrainerId peer) => TrainerId.Order.Compare(self, peer) < 0;
}

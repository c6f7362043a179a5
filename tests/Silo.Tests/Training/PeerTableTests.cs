// Goal: a peer is known as long as it has an address or a connection, however late others finish with it. Method: the
// table alone.
using Atelier.Silo.Training;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class PeerTableTests
{
    private readonly TrainerId _id = new("b", 1);
    private readonly PeerTable _table = new(new TrainerId("a", 1), 4);

    [Fact]
    public void APeerWithoutAddressAndConnection_IsRemoved()
    {
        Peer peer = _table.Get(_id);
        peer.Address = "127.0.0.1:1";
        _table.Tidy(peer);
        Assert.Same(peer, _table.Find(_id));

        peer.Address = null;
        peer.HelloOut = 3;
        _table.Tidy(peer);
        Assert.Same(peer, _table.Find(_id));

        peer.HelloOut = 0;
        _table.Tidy(peer);
        Assert.Null(_table.Find(_id));
    }

    // The task that ends an old connection may tidy up after the peer has become a member again.
    [Fact]
    public void TheEndOfAnOldConnection_DoesNotRemoveThePeersSuccessor()
    {
        Peer former = _table.Get(_id);
        _table.Tidy(former);
        Peer next = _table.Get(_id);
        next.Address = "127.0.0.1:1";

        _table.Tidy(former);

        Assert.Same(next, _table.Find(_id));
    }
}

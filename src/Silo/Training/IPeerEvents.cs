// What happens on the connections of a trainer.
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>
/// Takes what arrives from peers. The events of one peer come one after the other, those of several at once; they must
/// return soon and must not throw.
/// </summary>
public interface IPeerEvents
{
    /// <summary>A frame has arrived.</summary>
    /// <param name="from">The peer.</param>
    /// <param name="frame">The frame.</param>
    /// <param name="credit">
    /// Is disposed when the protocol has taken the frame: until then its bytes count against
    /// <see cref="PeerOptions.ReceiveBytes"/>.
    /// </param>
    void Received(TrainerId from, Frame frame, IDisposable credit);

    /// <summary>
    /// A connection has ended, and with it what was on its way in both directions. It comes once for each connection,
    /// after its last frame and before the first one of the next connection; and once when frames for a peer without a
    /// connection were dropped because too many waited.
    /// </summary>
    /// <param name="peer">The peer.</param>
    void Disconnected(TrainerId peer);
}

// The port to the other trainers of a stage. Orleans carries control messages, never gradients, which have connections
// of their own.
using Atelier.Training.Worlds;

namespace Atelier.Grains.Ports;

/// <summary>Receives the events of connections; called from any thread.</summary>
public interface ITrainerPeerEvents
{
    /// <summary>A frame has arrived.</summary>
    /// <param name="from">The peer.</param>
    /// <param name="frame">The frame.</param>
    /// <param name="credit">
    /// To be disposed when the frame was processed; until then its bytes count against the receive limit.
    /// </param>
    void Received(TrainerId from, Frame frame, IDisposable credit);

    /// <summary>
    /// A connection has ended, and the frames in flight are lost. Called once for each connection, after its last frame
    /// and before the first frame of the next connection.
    /// </summary>
    /// <param name="peer">The peer.</param>
    void Disconnected(TrainerId peer);
}

/// <summary>
/// Opens connections between trainers. TCP is implemented. An implementation for NCCL would send the same frames with
/// grouped sends and receives, never with NCCL's own sums, whose order depends on the world; there is none yet.
/// </summary>
public interface ITrainerNetwork
{
    /// <summary>Listens for peers of a stage.</summary>
    /// <param name="self">This trainer.</param>
    /// <param name="stage">Key of the stage; peers of another stage are refused.</param>
    /// <param name="facts">Facts about the stage, which bound the contents of a frame.</param>
    /// <param name="events">Receives frames and disconnections.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="IOException">The port is in use.</exception>
    Task<ITrainerPeers> ListenAsync(
        TrainerId self, string stage, StageFacts facts, ITrainerPeerEvents events, CancellationToken cancellation);
}

/// <summary>Connections to the trainers of a stage.</summary>
public interface ITrainerPeers : IAsyncDisposable
{
    /// <summary>The IP address and port at which peers reach this trainer.</summary>
    string Address { get; }

    /// <summary>
    /// Peers that were passed to <see cref="Connect"/> and to which there has been no connection for a while.
    /// </summary>
    IReadOnlyList<TrainerId> Unreachable { get; }

    /// <summary>
    /// Sets the members of the world, which include this trainer if it is a member. A frame for a member that is not
    /// connected yet waits; connections to other trainers end, unless the other trainer dialed.
    /// </summary>
    void Connect(IReadOnlyDictionary<TrainerId, string> addresses);

    /// <summary>Sends a frame without waiting. A frame is lost only if its connection ends.</summary>
    void Send(TrainerId to, Frame frame);
}

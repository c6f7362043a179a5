// The port to the other trainers of a stage. Orleans carries control, never gradients: these have connections of their
// own.
using Atelier.Training.Worlds;

namespace Atelier.Grains.Ports;

/// <summary>Receives what happens on connections; called from any thread.</summary>
public interface ITrainerPeerEvents
{
    /// <summary>A frame has arrived.</summary>
    /// <param name="from">The peer.</param>
    /// <param name="frame">The frame.</param>
    /// <param name="credit">Is disposed when the frame is taken: until then its bytes are bounded.</param>
    void Received(TrainerId from, Frame frame, IDisposable credit);

    /// <summary>
    /// A connection has ended, and with it what was on its way. It comes once for each connection, after its last frame
    /// and before the first one of the next connection.
    /// </summary>
    /// <param name="peer">The peer.</param>
    void Disconnected(TrainerId peer);
}

/// <summary>Opens connections between trainers.</summary>
public interface ITrainerNetwork
{
    /// <summary>Listens for peers of a stage.</summary>
    /// <param name="self">This trainer.</param>
    /// <param name="stage">Key of the stage; peers of another one are refused.</param>
    /// <param name="facts">The stage, which bounds what a frame may hold.</param>
    /// <param name="events">Receives what arrives.</param>
    /// <param name="cancellation">Cancels.</param>
    /// <exception cref="IOException">The port is in use.</exception>
    Task<ITrainerPeers> ListenAsync(
        TrainerId self, string stage, StageFacts facts, ITrainerPeerEvents events, CancellationToken cancellation);
}

/// <summary>Connections to the trainers of a stage.</summary>
public interface ITrainerPeers : IAsyncDisposable
{
    /// <summary>Where peers reach this trainer, as IP address and port.</summary>
    string Address { get; }

    /// <summary>Named peers to which there has been no connection for a while.</summary>
    IReadOnlyList<TrainerId> Unreachable { get; }

    /// <summary>
    /// Says who the members are from now on, this trainer among them if it is one. A frame for a member that is not
    /// connected yet waits; connections to others end, unless these dialed.
    /// </summary>
    void Connect(IReadOnlyDictionary<TrainerId, string> addresses);

    /// <summary>Sends a frame, without waiting. A frame is lost only with its connection.</summary>
    void Send(TrainerId to, Frame frame);
}

// Log events of the connections between trainers, for an operator.
using System.Net;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

internal sealed partial class PeerLog
{
    [LoggerMessage(
        EventId = 641, Level = LogLevel.Warning,
        Message = "Refused {Count} connections from trainers since the last such line; the last one was from {Peer}: "
            + "{Reason}")]
    private partial void LogRefused(int count, EndPoint? peer, string reason);

    [LoggerMessage(
        EventId = 642, Level = LogLevel.Warning,
        Message = "{Count} attempts to connect to trainers failed since the last such line; the last one was to {Peer} "
            + "at {Address}: {Reason}")]
    private partial void LogUnreached(int count, TrainerId peer, string address, string reason);

    [LoggerMessage(
        EventId = 643, Level = LogLevel.Information,
        Message = "{Count} connections to trainers ended since the last such line; the last one was to {Peer}: "
            + "{Reason}")]
    private partial void LogEnded(int count, TrainerId peer, string reason);

    [LoggerMessage(
        EventId = 644, Level = LogLevel.Error,
        Message = "{Count} attempts to accept a connection from a trainer failed since the last such line; the last "
            + "reason: {Reason}")]
    private partial void LogNotAccepted(int count, string reason);
}

// The TCP implementation of the grains' port to other trainers, with the transport security of the silos' ports.
using System.Net;
using Atelier.Grains.Ports;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>Opens the connections of a silo's trainers.</summary>
/// <param name="address">The silo's address.</param>
/// <param name="security">Secures the connections.</param>
/// <param name="options">Timeouts and limits.</param>
/// <param name="clock">Measures timeouts.</param>
/// <param name="loggers">Creates the log.</param>
internal sealed class TcpTrainerNetwork(
    IPAddress address, PeerSecurity security, PeerOptions options, TimeProvider clock, ILoggerFactory loggers)
    : ITrainerNetwork
{
    // Maximum size of a state's data besides its vectors: position, ledger and step records.
    private const long HeaderBytesMax = 1L << 30;

    /// <inheritdoc/>
    public async Task<ITrainerPeers> ListenAsync(
        TrainerId self, string stage, StageFacts facts, ITrainerPeerEvents events, CancellationToken cancellation)
    {
        var limits = new FrameLimits
        {
            Parameters = checked((int)facts.Parameters), Shards = facts.Shards, Samples = facts.Batch,
            StateBytes = (facts.Vectors.Count * facts.Parameters * sizeof(float)) + HeaderBytesMax,
        };
        var peers = new TcpPeers(
            self, stage, options, limits, security, new IPEndPoint(address, options.Port), clock, events,
            loggers.CreateLogger<TcpPeers>());
        try
        {
            await peers.StartAsync();
            return peers;
        }
        catch (Exception)
        {
            await peers.DisposeAsync();
            throw;
        }
    }
}

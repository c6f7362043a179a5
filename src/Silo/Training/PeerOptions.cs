// The options of the connections between trainers.
using Atelier.Configuration;

namespace Atelier.Silo.Training;

/// <summary>Connections between the trainers of a stage.</summary>
[Section("TrainerPeers")]
public sealed class PeerOptions
{
    /// <summary>Gets or sets the port on which the trainer listens for its peers; 0 chooses a free port.</summary>
    /// <value>The default is 0.</value>
    [Bounds(0, 65535)]
    public int Port { get; set; }

    /// <summary>Gets or sets the time without anything to send after which a heartbeat is sent.</summary>
    /// <value>The default is half a second.</value>
    [Bounds("00:00:00.010", "00:01:00")]
    public TimeSpan Heartbeat { get; set; } = TimeSpan.FromSeconds(0.5);

    /// <summary>
    /// Gets or sets the time without data from a peer after which its connection is broken. A send that is blocked for
    /// this time breaks the connection, too.
    /// </summary>
    /// <remarks>
    /// The time is counted in ticks of the trainer's own timer, so that a process that was suspended does not take its
    /// own pause for the silence of its peers.
    /// </remarks>
    /// <value>The default is 2 seconds.</value>
    [Bounds("00:00:00.020", "00:10:00")]
    public TimeSpan Silence { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Gets or sets the time within which a peer must complete the handshake.</summary>
    /// <value>The default is 5 seconds.</value>
    [Bounds("00:00:00.010", "00:10:00")]
    public TimeSpan HandshakeTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Gets or sets the time without a connection after which a peer is reported as unreachable.</summary>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.010", "00:10:00")]
    public TimeSpan UnreachableAfter { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the first pause between two attempts to connect; it doubles each time.</summary>
    /// <value>The default is 0.1 seconds.</value>
    [Bounds("00:00:00.010", "00:10:00")]
    public TimeSpan BackoffMin { get; set; } = TimeSpan.FromSeconds(0.1);

    /// <summary>Gets or sets the longest pause between two attempts to connect.</summary>
    /// <value>The default is 2 seconds.</value>
    [Bounds("00:00:00.010", "01:00:00")]
    public TimeSpan BackoffMax { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Gets or sets the maximum number of connections. Members of the world are accepted beyond it.</summary>
    /// <value>The default is 1,024.</value>
    [Bounds(1, 1 << 20)]
    public int Connections { get; set; } = 1024;

    /// <summary>
    /// Gets or sets the maximum number of connections whose peers have not completed the handshake. Beyond it, the
    /// oldest of these connections is closed.
    /// </summary>
    /// <value>The default is 64.</value>
    [Bounds(1, 1 << 16)]
    public int Unproven { get; set; } = 64;

    /// <summary>
    /// Gets or sets the maximum number of bytes that wait to be sent to one peer, not counting copies of the state. If
    /// more would wait, the peer is too slow and is disconnected.
    /// </summary>
    /// <remarks>
    /// Waiting frames refer to the sums in memory, which are not copied. The maximum must be large enough for the
    /// frames of a step; the size of two whole gradients is used if that is more.
    /// </remarks>
    /// <value>The default is 256 MiB.</value>
    [Bounds(1, 1L << 40)]
    public long SendQueueBytes { get; set; } = 256L << 20;

    /// <summary>
    /// Gets or sets the maximum number of bytes of frames from all peers that are received but not processed yet. At
    /// the maximum, senders wait.
    /// </summary>
    /// <remarks>
    /// A larger frame is received alone. If no frame is processed for longer than <see cref="Silence"/>, senders that
    /// have more to send than this lose their connections.
    /// </remarks>
    /// <value>The default is 256 MiB.</value>
    [Bounds(1, 1L << 40)]
    public long ReceiveBytes { get; set; } = 256L << 20;
}

/// <summary>Validates the options of the connections between trainers.</summary>
internal sealed class PeerOptionsValidator : OptionsValidator<PeerOptions>
{
    protected override IEnumerable<string> Faults(PeerOptions options)
    {
        if (options.Silence < 2 * options.Heartbeat)
        {
            yield return $"{Key(nameof(options.Silence))} is {options.Silence}; it must be at least twice "
                + $"{Key(nameof(options.Heartbeat))} ({options.Heartbeat}), or a late heartbeat breaks a connection.";
        }

        if (options.BackoffMax < options.BackoffMin)
        {
            yield return $"{Key(nameof(options.BackoffMax))} is {options.BackoffMax}; it must be at least "
                + $"{Key(nameof(options.BackoffMin))} ({options.BackoffMin}).";
        }
    }
}

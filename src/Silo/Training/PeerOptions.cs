// The options of the connections between trainers.
namespace Atelier.Silo.Training;

/// <summary>Connections between the trainers of a stage.</summary>
public sealed class PeerOptions
{
    /// <summary>Gets or sets the time without anything to send after which a heartbeat is sent.</summary>
    /// <value>The default is half a second.</value>
    public TimeSpan Heartbeat { get; set; } = TimeSpan.FromSeconds(0.5);

    /// <summary>
    /// Gets or sets the silence after which a connection is broken. A send that is blocked for so long is silence, too.
    /// </summary>
    /// <remarks>
    /// It is counted in ticks of the trainer's own watch, so that a process that was suspended does not blame its
    /// peers.
    /// </remarks>
    /// <value>The default is 2 seconds.</value>
    public TimeSpan Silence { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Gets or sets the time within which a peer must prove who it is.</summary>
    /// <value>The default is 5 seconds.</value>
    public TimeSpan HandshakeTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Gets or sets the time without a connection after which a peer is reported as unreachable.</summary>
    /// <value>The default is 1 second.</value>
    public TimeSpan UnreachableAfter { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets or sets the first pause between two attempts to connect; it doubles each time.</summary>
    /// <value>The default is 0.1 seconds.</value>
    public TimeSpan BackoffMin { get; set; } = TimeSpan.FromSeconds(0.1);

    /// <summary>Gets or sets the longest pause between two attempts to connect.</summary>
    /// <value>The default is 2 seconds.</value>
    public TimeSpan BackoffMax { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Gets or sets the most connections; members of the world are let in beyond it.</summary>
    /// <value>The default is 1,024.</value>
    public int Connections { get; set; } = 1024;

    /// <summary>
    /// Gets or sets the most connections whose peers have not yet proven who they are. Beyond it, the oldest one is
    /// closed.
    /// </summary>
    /// <value>The default is 64.</value>
    public int Unproven { get; set; } = 64;

    /// <summary>
    /// Gets or sets the most bytes that wait to be sent to one peer, without copies of the state. A peer that takes
    /// them too slowly counts as silent.
    /// </summary>
    /// <remarks>
    /// The numbers that wait are those of the sums, which are not copied. It must hold a step's frames; it is never
    /// less than two whole gradients.
    /// </remarks>
    /// <value>The default is 256 MiB.</value>
    public long SendQueueBytes { get; set; } = 256 << 20;

    /// <summary>
    /// Gets or sets the most bytes of frames that are received and not yet taken by the protocol, over all peers. Their
    /// senders wait.
    /// </summary>
    /// <remarks>
    /// A larger frame is received alone. A protocol that takes nothing for longer than <see cref="Silence"/> loses
    /// senders that have more to send than this.
    /// </remarks>
    /// <value>The default is 256 MiB.</value>
    public long ReceiveBytes { get; set; } = 256 << 20;

    /// <summary>The same options.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One of them is impossible.</exception>
    internal PeerOptions Checked()
    {
        foreach (TimeSpan time in (TimeSpan[])[Heartbeat, HandshakeTimeout, UnreachableAfter, BackoffMin])
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(time, TimeSpan.Zero);
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(Silence, 2 * Heartbeat);
        ArgumentOutOfRangeException.ThrowIfLessThan(BackoffMax, BackoffMin);
        ArgumentOutOfRangeException.ThrowIfLessThan(Connections, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Unproven, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(SendQueueBytes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(ReceiveBytes, 1);
        return this;
    }
}

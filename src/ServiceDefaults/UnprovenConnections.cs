// Connections to a silo's Orleans ports whose peers have not yet proven that they know the cluster's secret. Anybody
// who reaches the ports can open them, so their number, their duration and their log lines are bounded.
using System.Net;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Orleans.Connections.Security;

namespace Atelier.ServiceDefaults;

/// <summary>Connections in their TLS handshake. Both ports of a silo share the bound.</summary>
/// <remarks>
/// Beyond <see cref="ClusterTransport.HandshakesMax"/>, the oldest one is closed: a peer that knows the secret
/// completes the handshake within milliseconds, so its connection is rarely the oldest, even during a flood.
/// </remarks>
internal sealed class UnprovenConnections(TimeProvider clock, ILogger<UnprovenConnections> logger)
{
    private static readonly TimeSpan s_logPeriod = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private readonly LinkedList<ConnectionContext> _unproven = [];
    private long? _loggedAt;
    private int _refused;

    /// <summary>Adds TLS to a port's connections.</summary>
    public void AddTo(IConnectionBuilder connections, TlsOptions tls)
    {
        connections.Use(next => context => WatchAsync(context, next));
        connections.UseServerTls(tls);
        connections.Use(next => context =>
        {
            Prove(context);
            return next(context);
        });
    }

    private async Task WatchAsync(ConnectionContext context, ConnectionDelegate next)
    {
        var entry = new LinkedListNode<ConnectionContext>(context);
        context.Features.Set(entry);
        if (Add(entry) is { } oldest)
        {
            oldest.Abort(new ConnectionAbortedException("Too many connections are still in their TLS handshake."));
            CountRefused(oldest.RemoteEndPoint);
        }

        try
        {
            await next(context);
        }
        finally
        {
            // A connection whose peer was proven, or that was evicted to make room, is no longer in the list.
            if (Remove(entry))
            {
                CountRefused(context.RemoteEndPoint);
            }
        }
    }

    // Adds a connection. Returns the connection to evict in its place, if any.
    private ConnectionContext? Add(LinkedListNode<ConnectionContext> entry)
    {
        lock (_gate)
        {
            _unproven.AddLast(entry);
            if (_unproven.Count <= ClusterTransport.HandshakesMax)
            {
                return null;
            }

            ConnectionContext oldest = _unproven.First!.Value;
            _unproven.RemoveFirst();
            return oldest;
        }
    }

    private void Prove(ConnectionContext context)
    {
        Remove(context.Features.Get<LinkedListNode<ConnectionContext>>()!);
        context.Features.Set<LinkedListNode<ConnectionContext>>(null);
    }

    private bool Remove(LinkedListNode<ConnectionContext> entry)
    {
        lock (_gate)
        {
            if (entry.List is null)
            {
                return false;
            }

            _unproven.Remove(entry);
            return true;
        }
    }

    private void CountRefused(EndPoint? peer)
    {
        int refused;
        lock (_gate)
        {
            _refused++;
            if (_loggedAt is { } loggedAt && clock.GetElapsedTime(loggedAt) < s_logPeriod)
            {
                return;
            }

            (refused, _refused, _loggedAt) = (_refused, 0, clock.GetTimestamp());
        }

        logger.ConnectionsRefused(refused, peer);
    }
}

// The gateway's connections. At the limit, an idle connection is closed to make room for a new one, so a client that
// opens many connections and sends nothing cannot lock others out. A connection is busy only while it has a request
// that OpenRequests has counted and so bounded: the connection of a client that requests the web page and does not read
// it is idle.
using System.Net;
using Atelier.Gateway.Settings;
using Atelier.Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Atelier.Gateway.Limits;

/// <summary>Bounds connections, in total and by address, and closes idle ones to make room.</summary>
internal sealed class Connections(GatewaySettings settings, TimeProvider clock, RefusalRecord refusals)
{
    // A connection on which only part of a request has arrived ignores a graceful close; it is aborted after this time.
    private static readonly TimeSpan s_closeTime = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly Dictionary<IPAddress, Address> _addresses = [];

    // Idle connections, in the order in which they became idle. All fields are guarded by the lock.
    private readonly LinkedList<Connection> _idle = [];
    private int _count;
    private int _closing;

    /// <summary>Serves a connection, or closes it immediately if no room can be made.</summary>
    public async Task ServeAsync(ConnectionContext context, ConnectionDelegate next)
    {
        var connection = new Connection(context, ClientAddress.Of((context.RemoteEndPoint as IPEndPoint)?.Address));
        if (!TryAdd(connection, out Connection? evicted, out bool isCut))
        {
            refusals.Add("too_many_connections");
            context.Abort(new ConnectionAbortedException("The maximum number of connections is reached."));
            return;
        }

        if (evicted is not null)
        {
            _ = CloseAsync(evicted, isCut);
        }

        context.Features.Set(connection);
        try
        {
            await next(context);
        }
        finally
        {
            Remove(connection);
        }
    }

    /// <summary>
    /// Records that a request has arrived, so that its connection becomes the last idle one to be closed.
    /// </summary>
    public Task TouchAsync(HttpContext context, RequestDelegate next)
    {
        if (context.Features.Get<Connection>() is { } connection)
        {
            lock (_lock)
            {
                SetIdle(connection, isIdle: false);
                SetIdle(connection, isIdle: true);
            }
        }

        return next(context);
    }

    /// <summary>Marks a request's connection as busy until the request ends.</summary>
    public async Task MarkAsync(HttpContext context, RequestDelegate next)
    {
        if (context.Features.Get<Connection>() is not { } connection)
        {
            await next(context);
            return;
        }

        lock (_lock)
        {
            connection.IsBusy = true;
            SetIdle(connection, isIdle: false);
        }

        try
        {
            await next(context);
        }
        finally
        {
            lock (_lock)
            {
                connection.IsBusy = false;
                SetIdle(connection, isIdle: true);
            }
        }
    }

    private bool TryAdd(Connection connection, out Connection? evicted, out bool isCut)
    {
        (evicted, isCut) = (null, false);
        lock (_lock)
        {
            Address own = _addresses.GetValueOrDefault(connection.Address) ?? new Address();
            bool isAddressFull = settings.AddressBound is > 0 and var bound && own.Count >= bound;
            if (isAddressFull || _count >= settings.ConnectionsMax)
            {
                // A new connection of an address that has more than its share evicts one of the same address.
                bool hasItsShare = own.Count > settings.ConnectionsMax / Math.Max(1, _addresses.Count);
                evicted = own.Idle.First?.Value is { } first && (isAddressFull || hasItsShare) ? first
                    : isAddressFull ? null : _idle.First?.Value;
                if (evicted is null)
                {
                    return false;
                }

                isCut = _closing > settings.ConnectionsMax / 4;
                SetIdle(evicted, isIdle: false);
                Uncount(evicted);
                evicted.IsEvicted = true;
                _closing++;
            }

            _addresses[connection.Address] = own;
            own.Count++;
            _count++;
            SetIdle(connection, isIdle: true);
            return true;
        }
    }

    private void Remove(Connection connection)
    {
        lock (_lock)
        {
            if (connection.IsEvicted)
            {
                _closing--;
            }
            else
            {
                SetIdle(connection, isIdle: false);
                Uncount(connection);
            }

            connection.IsGone = true;
        }
    }

    private void Uncount(Connection connection)
    {
        _count--;
        if (--_addresses[connection.Address].Count == 0)
        {
            _addresses.Remove(connection.Address);
        }
    }

    private void SetIdle(Connection connection, bool isIdle)
    {
        if (connection.IsEvicted || connection.IsGone || isIdle == connection.All.List is not null)
        {
            return;
        }

        LinkedList<Connection> own = _addresses[connection.Address].Idle;
        if (isIdle)
        {
            _idle.AddLast(connection.All);
            own.AddLast(connection.Own);
        }
        else
        {
            _idle.Remove(connection.All);
            own.Remove(connection.Own);
        }
    }

    // Closes gracefully unless isCut is true, so a request that arrives at the same moment is still served.
    private async Task CloseAsync(Connection connection, bool isCut)
    {
        if (!isCut)
        {
            connection.Context.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose();
            await Task.Delay(s_closeTime, clock);
            lock (_lock)
            {
                isCut = !connection.IsGone && !connection.IsBusy;
            }
        }

        if (isCut)
        {
            connection.Context.Abort(new ConnectionAbortedException("An idle connection was closed to make room."));
        }
    }

    private sealed class Address
    {
        public int Count;

        public LinkedList<Connection> Idle { get; } = [];
    }

    private sealed class Connection
    {
        public bool IsBusy;
        public bool IsEvicted;
        public bool IsGone;

        public Connection(ConnectionContext context, IPAddress address)
        {
            (Context, Address) = (context, address);
            (All, Own) = (new LinkedListNode<Connection>(this), new LinkedListNode<Connection>(this));
        }

        public ConnectionContext Context { get; }

        public IPAddress Address { get; }

        public LinkedListNode<Connection> All { get; }

        public LinkedListNode<Connection> Own { get; }
    }
}

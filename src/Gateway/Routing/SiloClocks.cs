// Offsets of the silos' clocks from this gateway's clock. A ticket is signed with the time of the silo that checks it,
// so a machine whose clock is wrong, or was just set, can serve requests like any other.
using System.Collections.Concurrent;
using System.Globalization;
using Atelier.Contracts.Tenants;
using Yarp.ReverseProxy.Transforms;

namespace Atelier.Gateway.Routing;

/// <summary>Marks a request whose ticket a silo found stale.</summary>
internal sealed class StaleTicketFeature
{
    /// <summary>Whether the request was retried with a new ticket.</summary>
    public bool IsSentAgain { get; set; }
}

/// <summary>The clock offsets that silos have reported.</summary>
internal sealed class SiloClocks(Tickets tickets)
{
    private readonly ConcurrentDictionary<string, long> _ahead = new(StringComparer.Ordinal);

    /// <summary>Milliseconds by which a silo's clock is ahead of the gateway's; 0 if not known.</summary>
    public long Ahead(string? silo) => silo is null ? 0 : _ahead.GetValueOrDefault(silo);

    /// <summary>Records the offset of a silo that refused a ticket as stale.</summary>
    public void Learn(ResponseTransformContext transform)
    {
        if (transform.ProxyResponse is not { } response
            || !response.Headers.TryGetValues(Tickets.ClockHeader, out IEnumerable<string>? values))
        {
            return;
        }

        transform.HttpContext.Response.Headers.Remove(Tickets.ClockHeader);
        string? silo = transform.HttpContext.GetReverseProxyFeature().ProxiedDestination?.DestinationId;
        if (silo is not null && transform.HttpContext.Features.Get<StaleTicketFeature>() is null
            && long.TryParse(values.First(), NumberStyles.None, CultureInfo.InvariantCulture, out long time))
        {
            _ahead[silo] = time - tickets.Now;
            transform.HttpContext.Features.Set(new StaleTicketFeature());
            transform.SuppressResponseBody = true;
        }
    }
}

// By how much silos' clocks differ from this gateway's. Tickets are signed by the clock of the silo that reads them, so
// a machine whose clock is wrong, or was just set, serves like any other.
using System.Collections.Concurrent;
using System.Globalization;
using Atelier.Contracts.Tenants;
using Yarp.ReverseProxy.Transforms;

namespace Atelier.Gateway.Routing;

/// <summary>Marks a request whose ticket a silo found stale.</summary>
internal sealed class StaleTicketFeature
{
    /// <summary>Whether it was sent once more.</summary>
    public bool IsSentAgain { get; set; }
}

/// <summary>What silos have said of their clocks.</summary>
internal sealed class SiloClocks(Tickets tickets)
{
    private readonly ConcurrentDictionary<string, long> _ahead = new(StringComparer.Ordinal);

    /// <summary>By how many milliseconds a silo's clock is ahead, as far as is known.</summary>
    public long Ahead(string? silo) => silo is null ? 0 : _ahead.GetValueOrDefault(silo);

    /// <summary>Learns from a silo that has refused a ticket as stale.</summary>
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

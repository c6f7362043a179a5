// The identity of this silo in its cluster. The generation distinguishes a silo from an earlier one at the same
// endpoint. By default Orleans derives the generation from the clock, so a silo whose clock was set back would be
// mistaken for an earlier one that died. Here the store allocates the generation.
using System.Net;

namespace Atelier.Silo.Hosting;

/// <summary>The silo's name and addresses.</summary>
internal sealed class SiloDetails(SiloSettings settings, int generation) : ILocalSiloDetails
{
    /// <inheritdoc/>
    public string Name => settings.Name;

    /// <inheritdoc/>
    public string ClusterId => settings.ClusterId;

    /// <inheritdoc/>
    public string DnsHostName { get; } = Dns.GetHostName();

    /// <inheritdoc/>
    public SiloAddress SiloAddress { get; } =
        SiloAddress.New(IPAddress.Parse(settings.Address), settings.Port, generation);

    /// <inheritdoc/>
    public SiloAddress GatewayAddress { get; } =
        SiloAddress.New(IPAddress.Parse(settings.Address), settings.ProxyPort, 0);
}

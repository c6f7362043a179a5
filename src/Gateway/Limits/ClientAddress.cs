// The address under which a connection is counted. A home or a machine has a whole network of IPv6 addresses, so all
// addresses of one /64 count as one.
using System.Net;
using System.Net.Sockets;

namespace Atelier.Gateway.Limits;

/// <summary>Addresses of clients, as the limits count them.</summary>
internal static class ClientAddress
{
    private const int PrefixBytes = 8;

    /// <summary>The address under which a client is counted: IPv4 unchanged, IPv6 reduced to its /64 network.</summary>
    public static IPAddress Of(IPAddress? address)
    {
        if (address is null)
        {
            return IPAddress.None;
        }

        if (address.IsIPv4MappedToIPv6)
        {
            return address.MapToIPv4();
        }

        if (address.AddressFamily != AddressFamily.InterNetworkV6 || IPAddress.IsLoopback(address))
        {
            return address;
        }

        byte[] bytes = address.GetAddressBytes();
        bytes.AsSpan(PrefixBytes).Clear();
        return new IPAddress(bytes);
    }
}

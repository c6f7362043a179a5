// The guarantees that a Redis server must give before a cluster relies on it: acknowledged writes survive, and nothing
// is evicted.
using Atelier.Grains.Ports;
using StackExchange.Redis;

namespace Atelier.Silo.Store;

/// <summary>Checks the durability settings of a Redis server.</summary>
internal static class StoreChecks
{
    /// <summary>Returns the ways in which accepted writes may be lost, as sentences for the log.</summary>
    /// <exception cref="InvalidOperationException">
    /// The server may lose accepted writes; the message says how to prevent that.
    /// </exception>
    /// <exception cref="StoreUnavailableException">The server does not answer.</exception>
    public static async Task<IReadOnlyList<string>> RunAsync(ConfigurationOptions options)
    {
        ConfigurationOptions asking = options.Clone();
        asking.AllowAdmin = true;
        await using ConnectionMultiplexer connection = await ConnectionMultiplexer.ConnectAsync(asking);
        IServer server = connection.GetServers().FirstOrDefault(one => one.IsConnected && !one.IsReplica)
            ?? throw new StoreUnavailableException(
                "The store does not answer at the address of Store:Redis, or refuses its password.");
        try
        {
            return Judge(
                await ValueAsync(server, "appendonly"), await ValueAsync(server, "appendfsync"), await ValueAsync(
                    server, "maxmemory-policy"));
        }
        catch (RedisServerException)
        {
            return ["The store does not report its configuration: whether it is durable (appendonly yes, "
                + "appendfsync always, maxmemory-policy noeviction) could not be checked."];
        }
    }

    /// <summary>Checks three settings and returns warnings.</summary>
    /// <exception cref="InvalidOperationException">The server may lose accepted writes.</exception>
    internal static IReadOnlyList<string> Judge(string? appendOnly, string? fsync, string? eviction)
    {
        if (appendOnly != "yes" || fsync == "no" || eviction is not (null or "noeviction"))
        {
            throw new InvalidOperationException(
                "The store may lose accepted writes: it must have appendonly yes, appendfsync always and "
                + "maxmemory-policy "
                + $"noeviction, but has {appendOnly ?? "?"}, {fsync ?? "?"} and {eviction ?? "?"}.");
        }

        return fsync == "always"
            ? []
            :
            [
                "The store has appendfsync everysec: writes that were accepted in the last second before its machine "
                + "dies may be lost.",
            ];
    }

    private static async Task<string?> ValueAsync(IServer server, string name) =>
        (await server.ConfigGetAsync(name)).FirstOrDefault().Value;
}

// What a store must promise before a cluster is built on it: what is written survives, and nothing is evicted.
using StackExchange.Redis;

namespace Atelier.Silo.Store;

/// <summary>Asks a Redis server how durable it is.</summary>
internal static class StoreChecks
{
    /// <summary>What may be lost although it was promised, as sentences for the log.</summary>
    /// <exception cref="InvalidOperationException">
    /// The server would lose what it accepted; the message says how to change that.
    /// </exception>
    public static async Task<IReadOnlyList<string>> RunAsync(ConfigurationOptions options)
    {
        ConfigurationOptions asking = options.Clone();
        asking.AllowAdmin = true;
        await using ConnectionMultiplexer connection = await ConnectionMultiplexer.ConnectAsync(asking);
        IServer server = connection.GetServers().FirstOrDefault(one => one.IsConnected && !one.IsReplica)
            ?? throw new InvalidOperationException(
                "The store does not answer; Store:Redis says where it is looked for.");
        try
        {
            return Judge(
                await ValueAsync(server, "appendonly"), await ValueAsync(server, "appendfsync"), await ValueAsync(
                    server, "maxmemory-policy"));
        }
        catch (RedisServerException)
        {
            return ["The store does not tell its configuration: that it keeps what it accepts (appendonly yes, "
                + "appendfsync always, maxmemory-policy noeviction) is taken on trust."];
        }
    }

    /// <summary>The verdict on three settings.</summary>
    /// <exception cref="InvalidOperationException">The server would lose what it accepted.</exception>
    internal static IReadOnlyList<string> Judge(string? appendOnly, string? fsync, string? eviction)
    {
        if (appendOnly != "yes" || fsync == "no" || eviction is not (null or "noeviction"))
        {
            throw new InvalidOperationException(
                "The store would lose what it accepted: it must have appendonly yes, appendfsync always and "
                + "maxmemory-policy "
                + $"noeviction, but has {appendOnly ?? "?"}, {fsync ?? "?"} and {eviction ?? "?"}.");
        }

        return fsync == "always"
            ? []
            :
            [
                "The store has appendfsync everysec: what was accepted in the last second before its machine dies may "
                + "be lost.",
            ];
    }

    private static async Task<string?> ValueAsync(IServer server, string name) =>
        (await server.ConfigGetAsync(name)).FirstOrDefault().Value;
}

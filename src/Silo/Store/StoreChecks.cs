// The guarantees that a Redis server must give before a cluster relies on it: acknowledged writes survive, and nothing
// is evicted.
using Atelier.Grains.Ports;
using StackExchange.Redis;

namespace Atelier.Silo.Store;

/// <summary>Checks the durability settings and the clock of a Redis server.</summary>
internal static class StoreChecks
{
    // Synchronized clocks differ by less.
    private static readonly TimeSpan s_apartMax = TimeSpan.FromSeconds(10);

    /// <summary>Returns what is wrong with the server, as sentences for the log.</summary>
    /// <param name="options">How to connect.</param>
    /// <param name="clock">The clock of this machine.</param>
    /// <exception cref="InvalidOperationException">
    /// The server may lose accepted writes; the message says how to prevent that.
    /// </exception>
    /// <exception cref="StoreUnavailableException">The server does not answer.</exception>
    public static async Task<IReadOnlyList<string>> RunAsync(ConfigurationOptions options, TimeProvider clock)
    {
        ConfigurationOptions asking = options.Clone();
        asking.AllowAdmin = true;
        await using ConnectionMultiplexer connection = await ConnectionMultiplexer.ConnectAsync(asking);
        IServer server = connection.GetServers().FirstOrDefault(one => one.IsConnected && !one.IsReplica)
            ?? throw new StoreUnavailableException(
                "The store does not answer at the address of Store:Redis, or refuses its password.");
        try
        {
            IReadOnlyList<string> warnings = Judge(
                await ValueAsync(server, "appendonly"), await ValueAsync(server, "appendfsync"), await ValueAsync(
                    server, "maxmemory-policy"));
            TimeSpan ahead = clock.GetUtcNow().UtcDateTime - await server.TimeAsync();
            return JudgeClock(ahead) is { } apart ? [.. warnings, apart] : warnings;
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

    /// <summary>A warning if the clocks of this machine and of the store's are apart; null if they are not.</summary>
    /// <param name="ahead">By how much this machine's clock is ahead.</param>
    internal static string? JudgeClock(TimeSpan ahead) => ahead.Duration() <= s_apartMax
        ? null
        : $"This machine's clock is {ahead.Duration().TotalSeconds:0} s "
            + $"{(ahead < TimeSpan.Zero ? "behind" : "ahead of")} the store's: synchronize the clocks of all "
            + "machines. Until then, links expire early or late, and a silo may join the cluster without having "
            + "reached the others.";

    private static async Task<string?> ValueAsync(IServer server, string name) =>
        (await server.ConfigGetAsync(name)).FirstOrDefault().Value;
}

// Redis, or a server that speaks its protocol, as the store of a cluster.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Orleans.Persistence;
using Orleans.Storage;
using StackExchange.Redis;

namespace Atelier.Silo.Store;

/// <summary>A store that Orleans reaches through its Redis providers.</summary>
internal sealed class RedisClusterStore : IClusterStore, IStateMeter
{
    private const string NextGeneration = """
        local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1])) or 0
        local next = math.max(last + 1, tonumber(ARGV[2]))
        redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', next))
        return next
        """;

    private readonly ConfigurationOptions _options;
    private readonly ConnectionMultiplexer _connection;
    private readonly string _cluster;

    private RedisClusterStore(
        ConfigurationOptions options, ConnectionMultiplexer connection, string cluster,
        IReadOnlyList<string> warnings) =>
        (_options, _connection, _cluster, Warnings) = (options, connection, cluster, warnings);

    /// <inheritdoc/>
    public IReadOnlyList<string> Warnings { get; }

    /// <inheritdoc/>
    public bool IsInProcess => false;

    /// <inheritdoc/>
    public bool HasRoom { get; private set; } = true;

    /// <summary>Connects, and checks that the server does not lose accepted writes.</summary>
    /// <exception cref="InvalidOperationException">
    /// The server may lose accepted writes; the message says how to prevent that.
    /// </exception>
    /// <exception cref="StoreUnavailableException">The server does not answer.</exception>
    public static async Task<RedisClusterStore> OpenAsync(
        ConfigurationOptions options, string cluster, TimeProvider clock)
    {
        IReadOnlyList<string> warnings = await StoreChecks.RunAsync(options, clock);
        return new RedisClusterStore(options, await ConnectionMultiplexer.ConnectAsync(options), cluster, warnings);
    }

    /// <inheritdoc/>
    public void AddTo(ISiloBuilder silo)
    {
        silo.UseRedisClustering(redis => redis.ConfigurationOptions = _options);
        silo.AddRedisGrainStorageAsDefault((Microsoft.Extensions.Options.OptionsBuilder<RedisStorageOptions> redis) =>
            redis.Configure<OrleansGrainStorageSerializer>((storage, serializer) =>
            {
                storage.ConfigurationOptions = _options;
                storage.GrainStorageSerializer = serializer;
                storage.DeleteStateOnClear = true;
            }));
        silo.UseRedisReminderService(redis => redis.ConfigurationOptions = _options);
        silo.Services.AddSingleton<IStateMeter>(this);
    }

    /// <inheritdoc/>
    public async Task BeatAsync()
    {
        IDatabase database = _connection.GetDatabase();
        await database.StringSetAsync($"{_cluster}/heartbeat", "1");
        try
        {
            HasRoom = IsRoomy((string?)await database.ExecuteAsync("INFO", "memory") ?? "");
        }
        catch (RedisServerException)
        {
            // A server that does not report its memory is assumed to have room; when it is full, it refuses writes by
            // itself.
        }
    }

    /// <inheritdoc/>
    public ValueTask<long?> BytesOfAsync(TenantId tenant) => new((long?)null);

    /// <summary>Whether a server's INFO reports that less than nine tenths of its memory limit is in use.</summary>
    internal static bool IsRoomy(string info)
    {
        long Number(string name) =>
            info.Split('\n').FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal)) is { } line
            && long.TryParse(line.AsSpan(name.Length).Trim(), CultureInfo.InvariantCulture, out long value) ? value : 0;
        (long used, long most) = (Number("used_memory:"), Number("maxmemory:"));
        return most == 0 || used < most - (most / 10);
    }

    /// <inheritdoc/>
    public async Task<int> NextGenerationAsync(string endpoint, int fromClock) => (int)await _connection.GetDatabase()
        .ScriptEvaluateAsync(NextGeneration, [$"{_cluster}/starts"], [endpoint, fromClock]);

    /// <inheritdoc/>
    public void Dispose() => _connection.Dispose();
}

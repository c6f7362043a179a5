// Membership that tolerates a wall clock that was set back. A joining silo must reach every silo with a recent
// heartbeat. After the clock was set back, the last heartbeats of silos that died earlier are in the future and would
// count as recent until the clock reaches that time again: no silo could join for hours. A heartbeat from the future
// therefore counts as stale.
namespace Atelier.Silo.Store;

/// <summary>A membership table that reports heartbeats from the future as stale.</summary>
/// <param name="table">The table whose heartbeats are corrected.</param>
/// <param name="clock">The silo's clock.</param>
internal sealed class SkewTolerantMembershipTable(IMembershipTable table, TimeProvider clock) : IMembershipTable
{
    // Synchronized clocks differ by less.
    private static readonly TimeSpan s_aheadMax = TimeSpan.FromSeconds(10);

    /// <summary>Wraps the registered membership table.</summary>
    public static void AddTo(IServiceCollection services)
    {
        ServiceDescriptor table = services.Last(service => service.ServiceType == typeof(IMembershipTable));
        services.Remove(table);
        services.AddSingleton<IMembershipTable>(provider => new SkewTolerantMembershipTable(
            (IMembershipTable)(table.ImplementationInstance
                ?? table.ImplementationFactory?.Invoke(provider)
                ?? ActivatorUtilities.CreateInstance(provider, table.ImplementationType!)),
            provider.GetRequiredService<TimeProvider>()));
    }

    /// <inheritdoc/>
    public Task InitializeMembershipTable(bool tryInitTableVersion) =>
        table.InitializeMembershipTableAsync(tryInitTableVersion, CancellationToken.None);

    /// <inheritdoc/>
    public Task DeleteMembershipTableEntries(string clusterId) =>
        table.DeleteMembershipTableEntriesAsync(clusterId, CancellationToken.None);

    /// <inheritdoc/>
    public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) =>
        table.CleanupDefunctSiloEntriesAsync(beforeDate, CancellationToken.None);

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadRow(SiloAddress key) =>
        Corrected(await table.ReadRowAsync(key, CancellationToken.None));

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadAll() => Corrected(await table.ReadAllAsync(CancellationToken.None));

    /// <inheritdoc/>
    public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) =>
        table.InsertRowAsync(entry, tableVersion, CancellationToken.None);

    /// <inheritdoc/>
    public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        table.UpdateRowAsync(entry, etag, tableVersion, CancellationToken.None);

    /// <inheritdoc/>
    public Task UpdateIAmAlive(MembershipEntry entry) => table.UpdateIAmAliveAsync(entry, CancellationToken.None);

    private MembershipTableData Corrected(MembershipTableData read)
    {
        DateTime latest = clock.GetUtcNow().UtcDateTime + s_aheadMax;
        foreach ((MembershipEntry entry, _) in read.Members)
        {
            // Both times are corrected, because Orleans uses the later one.
            entry.IAmAliveTime = entry.IAmAliveTime > latest ? DateTime.UnixEpoch : entry.IAmAliveTime;
            entry.StartTime = entry.StartTime > latest ? DateTime.UnixEpoch : entry.StartTime;
        }

        return read;
    }
}

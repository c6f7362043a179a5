// The cluster's membership, read with a clock that may have been set back. A silo that joins waits for all that said
// lately that they are alive. After the clock was set back, those that died before would count among them until that
// time comes again: a silo could not join for hours. What lies in the future was written by another clock, and is old.
namespace Atelier.Silo.Store;

/// <summary>A membership table in which nobody was alive in the future.</summary>
/// <param name="table">The table.</param>
/// <param name="clock">The silo's clock.</param>
internal sealed class PresentMembershipTable(IMembershipTable table, TimeProvider clock) : IMembershipTable
{
    // Clocks that are disciplined differ by less.
    private static readonly TimeSpan s_aheadMax = TimeSpan.FromSeconds(10);

    /// <summary>Puts one before the table that is registered.</summary>
    public static void AddTo(IServiceCollection services)
    {
        ServiceDescriptor table = services.Last(service => service.ServiceType == typeof(IMembershipTable));
        services.Remove(table);
        services.AddSingleton<IMembershipTable>(provider => new PresentMembershipTable(
            (IMembershipTable)(table.ImplementationInstance
                ?? table.ImplementationFactory?.Invoke(provider)
                ?? ActivatorUtilities.CreateInstance(provider, table.ImplementationType!)),
            provider.GetRequiredService<TimeProvider>()));
    }

    /// <inheritdoc/>
    public Task InitializeMembershipTable(bool tryInitTableVersion) => table.InitializeMembershipTableAsync(tryInitTableVersion, CancellationToken.None);

    /// <inheritdoc/>
    public Task DeleteMembershipTableEntries(string clusterId) => table.DeleteMembershipTableEntriesAsync(clusterId, CancellationToken.None);

    /// <inheritdoc/>
    public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => table.CleanupDefunctSiloEntriesAsync(beforeDate, CancellationToken.None);

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadRow(SiloAddress key) => Present(await table.ReadRowAsync(key, CancellationToken.None));

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadAll() => Present(await table.ReadAllAsync(CancellationToken.None));

    /// <inheritdoc/>
    public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) => table.InsertRowAsync(entry, tableVersion, CancellationToken.None);

    /// <inheritdoc/>
    public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        table.UpdateRowAsync(entry, etag, tableVersion, CancellationToken.None);

    /// <inheritdoc/>
    public Task UpdateIAmAlive(MembershipEntry entry) => table.UpdateIAmAliveAsync(entry, CancellationToken.None);

    private MembershipTableData Present(MembershipTableData read)
    {
        DateTime latest = clock.GetUtcNow().UtcDateTime + s_aheadMax;
        foreach ((MembershipEntry entry, _) in read.Members)
        {
            // Its start is a sign of life too.
            entry.IAmAliveTime = entry.IAmAliveTime > latest ? DateTime.UnixEpoch : entry.IAmAliveTime;
            entry.StartTime = entry.StartTime > latest ? DateTime.UnixEpoch : entry.StartTime;
        }

        return read;
    }
}

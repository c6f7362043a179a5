// The cluster's membership in the store. The table has a version, and so has each row: a write passes both and is
// refused if either has changed.
using System.Globalization;
using System.Text.Json;

namespace Atelier.Silo.Store;

/// <summary>Reads and writes the silos of the cluster.</summary>
internal sealed class SqliteMembershipTable(SqliteStore store) : IMembershipTable
{
    /// <inheritdoc/>
    public Task InitializeMembershipTable(bool tryInitTableVersion) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task DeleteMembershipTableEntries(string clusterId) =>
        store.WriteAsync(session => session.Execute("DELETE FROM members"));

    /// <inheritdoc/>
    public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => store.WriteAsync(session =>
    {
        foreach ((MembershipEntry entry, _) in Members(session))
        {
            DateTime seen = entry.IAmAliveTime > entry.StartTime ? entry.IAmAliveTime : entry.StartTime;
            if (entry.Status == SiloStatus.Dead && seen < beforeDate.UtcDateTime)
            {
                session.Execute("DELETE FROM members WHERE silo = $0", KeyOf(entry.SiloAddress));
            }
        }

        return true;
    });

    /// <inheritdoc/>
    public Task<MembershipTableData> ReadRow(SiloAddress key) => store.ReadAsync(session =>
        Table(session, member => member.Entry.SiloAddress.Equals(key)));

    /// <inheritdoc/>
    public Task<MembershipTableData> ReadAll() => store.ReadAsync(session => Table(session, _ => true));

    /// <inheritdoc/>
    public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) => store.WriteAsync(session =>
        !IsThere(session, entry.SiloAddress) && TryAdvance(session, tableVersion)
            && session.Execute(
                "INSERT INTO members (silo, version, entry) VALUES ($0, 1, $1)", KeyOf(entry.SiloAddress),
                Write(entry)) == 1);

    /// <inheritdoc/>
    public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        store.WriteAsync(session =>
            session.Value("SELECT version FROM members WHERE silo = $0", KeyOf(entry.SiloAddress)) is long version
                && version == Number(etag) && TryAdvance(session, tableVersion)
                && session.Execute(
                    "UPDATE members SET version = version + 1, entry = $1 WHERE silo = $0", KeyOf(entry.SiloAddress),
                    Write(entry)) == 1);

    /// <inheritdoc/>
    public Task UpdateIAmAlive(MembershipEntry entry) => store.WriteAsync(session =>
    {
        // The versions stay the same, because a concurrent change of the row does not depend on the heartbeat.
        string key = KeyOf(entry.SiloAddress);
        if (session.Value("SELECT entry FROM members WHERE silo = $0", key) is string text)
        {
            MembershipEntry there = Read(text);
            there.IAmAliveTime = entry.IAmAliveTime;
            session.Execute("UPDATE members SET entry = $1 WHERE silo = $0", key, Write(there));
        }

        return true;
    });

    private static MembershipTableData Table(
        SqliteSession session, Func<(MembershipEntry Entry, long Version), bool> chosen)
    {
        // One statement, so that the version and the rows come from the same snapshot.
        List<(long Table, string? Entry, long Version)> rows = session.Rows(
            "SELECT m.version, s.entry, s.version FROM membership m LEFT JOIN members s",
            row => (row.GetInt64(0), row.IsDBNull(1) ? null : row.GetString(1), row.IsDBNull(2) ? 0 : row.GetInt64(2)));
        List<Tuple<MembershipEntry, string>> members =
        [
            .. rows.Where(row => row.Entry is not null).Select(row => (Entry: Read(row.Entry!), row.Version)).Where(
                chosen)
                .Select(row => Tuple.Create(row.Entry, Text(row.Version))),
        ];
        return new MembershipTableData(members, new TableVersion((int)rows[0].Table, Text(rows[0].Table)));
    }

    private static List<(MembershipEntry Entry, long Version)> Members(SqliteSession session) => session.Rows(
        "SELECT entry, version FROM members", row => (Read(row.GetString(0)), row.GetInt64(1)));

    private static bool IsThere(SqliteSession session, SiloAddress silo) =>
        session.Value("SELECT 1 FROM members WHERE silo = $0", KeyOf(silo)) is not null;

    // The caller passes the next version, with the ETag of the version that it read.
    private static bool TryAdvance(SqliteSession session, TableVersion next) => session.Execute(
        "UPDATE membership SET version = $0 WHERE version = $1", (long)next.Version, Number(next.VersionEtag)) == 1;

    private static string KeyOf(SiloAddress silo) => silo.ToParsableString();

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);

    private static string Write(MembershipEntry entry) => JsonSerializer.Serialize(new Row
    {
        Silo = KeyOf(entry.SiloAddress),
        Status = (int)entry.Status,
        Suspects = [.. (entry.SuspectTimes ?? []).Select(suspect => new Suspect(KeyOf(suspect.Item1), suspect.Item2))],
        ProxyPort = entry.ProxyPort,
        HostName = entry.HostName,
        SiloName = entry.SiloName,
        RoleName = entry.RoleName,
        UpdateZone = entry.UpdateZone,
        FaultZone = entry.FaultZone,
        StartTime = entry.StartTime,
        IAmAliveTime = entry.IAmAliveTime,
    });

    private static MembershipEntry Read(string text)
    {
        Row row = JsonSerializer.Deserialize<Row>(text)!;
        return new MembershipEntry
        {
            SiloAddress = SiloAddress.FromParsableString(row.Silo),
            Status = (SiloStatus)row.Status,
            SuspectTimes =
            [
                .. row.Suspects.Select(
                    suspect => Tuple.Create(SiloAddress.FromParsableString(suspect.Silo), suspect.At)),
            ],
            ProxyPort = row.ProxyPort,
            HostName = row.HostName,
            SiloName = row.SiloName,
            RoleName = row.RoleName!,
            UpdateZone = row.UpdateZone,
            FaultZone = row.FaultZone,
            StartTime = row.StartTime,
            IAmAliveTime = row.IAmAliveTime,
        };
    }

    private sealed record Suspect(string Silo, DateTime At);

    private sealed record Row
    {
        public required string Silo { get; init; }

        public required int Status { get; init; }

        public required Suspect[] Suspects { get; init; }

        public int ProxyPort { get; init; }

        public required string HostName { get; init; }

        public required string SiloName { get; init; }

        public string? RoleName { get; init; }

        public int UpdateZone { get; init; }

        public int FaultZone { get; init; }

        public DateTime StartTime { get; init; }

        public DateTime IAmAliveTime { get; init; }
    }
}

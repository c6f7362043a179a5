// The reminders of Orleans in the store.
using System.Globalization;
using Microsoft.Data.Sqlite;

namespace Atelier.Silo.Store;

/// <summary>Reads and writes reminders.</summary>
internal sealed class SqliteReminderTable(SqliteStore store) : IReminderTable
{
    private const string Columns = "SELECT grain, name, etag, start_at, period FROM reminders";

    /// <inheritdoc/>
    public Task<ReminderTableData> ReadRows(GrainId grainId) =>
        ReadAsync($"{Columns} WHERE grain = $0", grainId.ToString());

    /// <inheritdoc/>
    public Task<ReminderTableData> ReadRows(uint begin, uint end) => ReadAsync(
        $"{Columns} WHERE hash > $0 {(begin < end ? "AND" : "OR")} hash <= $1", (long)begin, (long)end);

    /// <inheritdoc/>
    public async Task<ReminderEntry?> ReadRow(GrainId grainId, string reminderName) =>
        (await ReadAsync($"{Columns} WHERE grain = $0 AND name = $1", grainId.ToString(), reminderName)).Reminders
            .FirstOrDefault();

    /// <inheritdoc/>
    public async Task<string?> UpsertRow(ReminderEntry entry)
    {
        string etag = Guid.NewGuid().ToString("N");
        await store.WriteAsync(session => session.Execute(
            """
            INSERT INTO reminders (grain, name, hash, etag, start_at, period) VALUES ($0, $1, $2, $3, $4, $5)
                ON CONFLICT (grain, name) DO UPDATE SET etag = $3, start_at = $4, period = $5
            """,
            entry.GrainId.ToString(), entry.ReminderName, (long)entry.GrainId.GetUniformHashCode(), etag,
            entry.StartAt.Ticks, entry.Period.Ticks));
        return etag;
    }

    /// <inheritdoc/>
    public Task<bool> RemoveRow(GrainId grainId, string reminderName, string eTag) => store.WriteAsync(session =>
        session.Execute(
            "DELETE FROM reminders WHERE grain = $0 AND name = $1 AND etag = $2", grainId.ToString(), reminderName,
            eTag) > 0);

    /// <inheritdoc/>
    public Task TestOnlyClearTable() => store.WriteAsync(session => session.Execute("DELETE FROM reminders"));

    private async Task<ReminderTableData> ReadAsync(string sql, params object?[] values) =>
        new(await store.ReadAsync(session => session.Rows(sql, Entry, values)));

    private static ReminderEntry Entry(SqliteDataReader row) => new()
    {
        GrainId = GrainId.Parse(row.GetString(0), CultureInfo.InvariantCulture),
        ReminderName = row.GetString(1),
        ETag = row.GetString(2),
        StartAt = new DateTime(row.GetInt64(3), DateTimeKind.Utc),
        Period = new TimeSpan(row.GetInt64(4)),
    };
}

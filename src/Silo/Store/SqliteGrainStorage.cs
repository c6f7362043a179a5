// Grain states in the store. Every write gives a state a new ETag, even if the state was deleted before, so an
// activation that missed a write never overwrites it.
using Orleans.Storage;

namespace Atelier.Silo.Store;

/// <summary>Reads and writes grain states.</summary>
internal sealed class SqliteGrainStorage(SqliteStore store, IGrainStorageSerializer serializer) : IGrainStorage
{
    /// <inheritdoc/>
    public async Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        string grain = grainId.ToString();
        (string ETag, byte[] Data)? found = await store.ReadAsync(session => session
            .Rows(
                "SELECT etag, data FROM state WHERE grain = $0 AND name = $1",
                row => ((string, byte[])?)(row.GetString(0), row.GetFieldValue<byte[]>(1)), grain, stateName)
            .FirstOrDefault());
        (grainState.State, grainState.RecordExists, grainState.ETag) = found is { } one
            ? (
                serializer.Deserialize<T>(BinaryData.FromBytes(one.Data)) ?? Activator.CreateInstance<T>(), true,
                one.ETag)
            : (Activator.CreateInstance<T>(), false, null);
    }

    /// <inheritdoc/>
    /// <exception cref="InconsistentStateException">The state was written or deleted since it was read.</exception>
    public async Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        (string grain, string? expected, string etag) = (
            grainId.ToString(), grainState.ETag, Guid.NewGuid().ToString("N"));
        byte[] data = serializer.Serialize(grainState.State).ToArray();
        string? tenant = StateOwners.TenantOf(grainId);
        string? conflict = await store.WriteAsync(session =>
        {
            string? there = ETagOf(session, grain, stateName);
            if (there != expected)
            {
                return there ?? "none";
            }

            if (there is null)
            {
                session.Execute(
                    "INSERT INTO state (grain, name, tenant, etag, data) VALUES ($0, $1, $2, $3, $4)",
                    grain, stateName, tenant, etag, data);
            }
            else
            {
                session.Execute(
                    "UPDATE state SET etag = $2, data = $3 WHERE grain = $0 AND name = $1", grain, stateName, etag,
                    data);
            }

            return null;
        });
        Check(conflict, stateName, grain, expected);
        (grainState.ETag, grainState.RecordExists) = (etag, true);
    }

    /// <inheritdoc/>
    /// <exception cref="InconsistentStateException">The state was written or deleted since it was read.</exception>
    public async Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        (string grain, string? expected) = (grainId.ToString(), grainState.ETag);
        string? conflict = await store.WriteAsync(session =>
        {
            string? there = ETagOf(session, grain, stateName);
            if (there != expected)
            {
                return there ?? "none";
            }

            session.Execute("DELETE FROM state WHERE grain = $0 AND name = $1", grain, stateName);
            return null;
        });
        Check(conflict, stateName, grain, expected);
        (grainState.State, grainState.ETag, grainState.RecordExists) = (Activator.CreateInstance<T>(), null, false);
    }

    private static string? ETagOf(SqliteSession session, string grain, string name) =>
        (string?)session.Value("SELECT etag FROM state WHERE grain = $0 AND name = $1", grain, name);

    private static void Check(string? conflict, string name, string grain, string? expected)
    {
        if (conflict is not null)
        {
            throw new InconsistentStateException(
                $"The state {name} of {grain} was changed by another activation.", conflict, expected ?? "none");
        }
    }
}

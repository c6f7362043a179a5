// Goal: membership and reminders in the store behave as Orleans expects of its tables. Method: the rules of the tables,
// one by one: versions and ETags decide between writers, ranges of hashes are half open and wrap around.
using System.Net;
using Atelier.Silo.Store;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Silo.Tests.Store;

public sealed class SqliteTablesTests : IDisposable
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private readonly StoreFolder _folder = new();
    private readonly SqliteStore _store;
    private readonly SqliteMembershipTable _members;
    private readonly SqliteReminderTable _reminders;

    public SqliteTablesTests()
    {
        _store = _folder.Open();
        (_members, _reminders) = (new SqliteMembershipTable(_store), new SqliteReminderTable(_store));
    }

    public void Dispose()
    {
        _store.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task AMember_IsInsertedOnce_ByAWriterThatReadTheLatestVersion()
    {
        TableVersion version = (await _members.ReadAll()).Version;
        Assert.True(await _members.InsertRow(Entry(1), version.Next()));
        Assert.False(await _members.InsertRow(Entry(2), version.Next()));
        MembershipTableData table = await _members.ReadAll();
        Assert.False(await _members.InsertRow(Entry(1), table.Version.Next()));
        Assert.Equal(1, (await _members.ReadAll()).Version.Version);
        Assert.True(await _members.InsertRow(Entry(2), table.Version.Next()));
        Assert.Equal(2, (await _members.ReadAll()).Members.Count);
    }

    [Fact]
    public async Task AMember_IsUpdated_ByAWriterThatReadItsLatestRow()
    {
        await _members.InsertRow(Entry(1), (await _members.ReadAll()).Version.Next());
        MembershipTableData first = await _members.ReadRow(Silo(1)), same = await _members.ReadAll();
        MembershipEntry active = first.Members[0].Item1;
        active.Status = SiloStatus.Active;
        active.AddSuspector(Silo(2), DateTime.UnixEpoch);
        Assert.True(await _members.UpdateRow(active, first.Members[0].Item2, first.Version.Next()));
        active.Status = SiloStatus.Dead;
        Assert.False(await _members.UpdateRow(active, same.Members[0].Item2, same.Version.Next()));
        Assert.False(
            await _members.UpdateRow(active, same.Members[0].Item2, (await _members.ReadAll()).Version.Next()));
        MembershipEntry stored = (await _members.ReadRow(Silo(1))).Members[0].Item1;
        Assert.Equal((SiloStatus.Active, "silo", 30000), (stored.Status, stored.SiloName, stored.ProxyPort));
        Assert.Equal(Silo(2), Assert.Single(stored.SuspectTimes!).Item1);
        Assert.Empty((await _members.ReadRow(Silo(3))).Members);
    }

    [Theory]
    [InlineData(11, false)]
    [InlineData(8 * 24 * 3600, false)]
    [InlineData(5, true)]
    [InlineData(-8 * 24 * 3600, true)]
    public async Task AHeartbeat_FromTheFuture_IsStale(int secondsAhead, bool isKept)
    {
        var services = new ServiceCollection();
        services.AddSingleton<IMembershipTable>(_members);
        services.AddSingleton(TimeProvider.System);
        SkewTolerantMembershipTable.AddTo(services);
        await using ServiceProvider provider = services.BuildServiceProvider();
        var table = provider.GetRequiredService<IMembershipTable>();
        MembershipEntry entry = Entry(1);
        entry.StartTime = entry.IAmAliveTime = TimeProvider.System.GetUtcNow().UtcDateTime.AddSeconds(secondsAhead);
        Assert.True(await table.InsertRowAsync(entry, (await table.ReadAllAsync(Token)).Version.Next(), Token));
        DateTime expected = isKept ? entry.IAmAliveTime : DateTime.UnixEpoch;
        MembershipEntry all = (await table.ReadAllAsync(Token)).Members[0].Item1;
        MembershipEntry one = (await table.ReadRowAsync(Silo(1), Token)).Members[0].Item1;
        Assert.All(
            [all.StartTime, all.IAmAliveTime, one.StartTime, one.IAmAliveTime], time => Assert.Equal(expected, time));
    }

    [Fact]
    public async Task AHeartbeat_ChangesNothingElse()
    {
        await _members.InsertRow(Entry(1), (await _members.ReadAll()).Version.Next());
        MembershipTableData before = await _members.ReadAll();
        MembershipEntry sign = Entry(1);
        (sign.Status, sign.IAmAliveTime) = (SiloStatus.Dead, DateTime.UnixEpoch.AddDays(1));
        await _members.UpdateIAmAlive(sign);
        MembershipTableData after = await _members.ReadAll();
        Assert.Equal(before.Version, after.Version);
        Assert.Equal(before.Members[0].Item2, after.Members[0].Item2);
        Assert.Equal(SiloStatus.Joining, after.Members[0].Item1.Status);
        Assert.Equal(DateTime.UnixEpoch.AddDays(1), after.Members[0].Item1.IAmAliveTime);
    }

    [Fact]
    public async Task OnlyTheDead_AndOnlyThoseOfLongAgo_AreCleanedUp()
    {
        foreach ((int number, SiloStatus status, int day) in new[]
            { (1, SiloStatus.Dead, 1), (2, SiloStatus.Dead, 9), (3, SiloStatus.Active, 1) })
        {
            MembershipEntry entry = Entry(number);
            (entry.Status, entry.IAmAliveTime) = (status, DateTime.UnixEpoch.AddDays(day));
            await _members.InsertRow(entry, (await _members.ReadAll()).Version.Next());
        }

        await _members.CleanupDefunctSiloEntries(DateTimeOffset.UnixEpoch.AddDays(5));
        Assert.Equal(
            [Silo(2), Silo(3)],
            (await _members.ReadAll()).Members.Select(member => member.Item1.SiloAddress).OrderBy(
                silo => silo.Generation));
        await _members.DeleteMembershipTableEntries("atelier");
        Assert.Empty((await _members.ReadAll()).Members);
    }

    [Fact]
    public async Task AReminder_IsReplaced_AndRemovedByItsLatestETagAlone()
    {
        string first = (await _reminders.UpsertRow(Reminder(1, 60)))!, second = (
            await _reminders.UpsertRow(Reminder(1, 90)))!;
        ReminderEntry stored = (await _reminders.ReadRow(Reminder(1, 0).GrainId, "walk"))!;
        Assert.Equal((TimeSpan.FromSeconds(90), second), (stored.Period, stored.ETag));
        Assert.Equal(Reminder(1, 0).StartAt, stored.StartAt);
        Assert.False(await _reminders.RemoveRow(stored.GrainId, "walk", first));
        Assert.True(await _reminders.RemoveRow(stored.GrainId, "walk", second));
        Assert.Null(await _reminders.ReadRow(stored.GrainId, "walk"));
        Assert.Empty((await _reminders.ReadRows(stored.GrainId)).Reminders);
    }

    [Fact]
    public async Task Reminders_AreFoundByRangesOfHashes()
    {
        ReminderEntry[] all = [.. Enumerable.Range(0, 40).Select(i => Reminder(i, 60))];
        foreach (ReminderEntry one in all)
        {
            await _reminders.UpsertRow(one);
        }

        uint[] hashes = [.. all.Select(one => one.GrainId.GetUniformHashCode()).Order()];
        (uint low, uint high) = (hashes[10], hashes[30]);
        Assert.Equal(20, (await _reminders.ReadRows(low, high)).Reminders.Count);
        Assert.Equal(20, (await _reminders.ReadRows(high, low)).Reminders.Count);
        Assert.Equal(40, (await _reminders.ReadRows(low, low)).Reminders.Count);
        Assert.Equal(40, (await _reminders.ReadRows(0, 0)).Reminders.Count);
    }

    private static SiloAddress Silo(int generation) => SiloAddress.New(IPAddress.Loopback, 11111, generation);

    private static MembershipEntry Entry(int generation) => new()
    {
        SiloAddress = Silo(generation), Status = SiloStatus.Joining, ProxyPort = 30000, HostName = "host",
        SiloName = "silo",
        StartTime = DateTime.UnixEpoch, IAmAliveTime = DateTime.UnixEpoch,
    };

    private static ReminderEntry Reminder(int grain, int seconds) => new()
    {
        GrainId = GrainId.Create("openset", $"{grain}"), ReminderName = "walk",
        StartAt = DateTime.UnixEpoch.AddHours(1),
        Period = TimeSpan.FromSeconds(seconds),
    };
}

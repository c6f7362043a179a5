// Goal: silos that join, leave and die are logged, once each. Method: a membership that the test changes.
using System.Collections.Immutable;
using System.Net;
using System.Threading.Channels;
using Atelier.Grains.Tests;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Silo.Hosting;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class MembershipLogTests
{
    [Fact]
    public async Task SilosThatJoin_Leave_AndDie_AreLoggedOnceEach()
    {
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        var membership = new FakeMembership();
        var log = new LogKeeper();
        using var membershipLog = new MembershipLog(
            membership, new LoggerFactory([log]).CreateLogger<MembershipLog>());
        membership.Set(("a", SiloStatus.Active), ("old", SiloStatus.Dead), ("b", SiloStatus.Joining));
        await membershipLog.StartAsync(cancellation);
        membership.Set(("a", SiloStatus.Active), ("old", SiloStatus.Dead), ("b", SiloStatus.Active));
        membership.Set(("a", SiloStatus.Dead), ("old", SiloStatus.Dead), ("b", SiloStatus.ShuttingDown));
        membership.Set(("a", SiloStatus.Dead), ("b", SiloStatus.Dead));
        membership.Set(("a", SiloStatus.Dead), ("b", SiloStatus.Dead), ("c", SiloStatus.Active));
        await Eventually.TrueAsync(() => log.Of(605).Any(one => one["Silo"] == "c"));

        await membershipLog.StopAsync(cancellation);
        Assert.Equal(
            ["a Active", "b Active", "b ShuttingDown", "b Dead", "c Active"],
            log.Of(605).Select(one => $"{one["Silo"]} {one["Status"]}"));
        LogEvent died = Assert.Single(log.Of(606));
        Assert.Equal(("a", FakeMembership.AddressOf("a").ToString()), (died["Silo"], died["Address"]));
    }

    private sealed class FakeMembership : IClusterMembershipService
    {
        private readonly Channel<ClusterMembershipSnapshot> _updates =
            Channel.CreateUnbounded<ClusterMembershipSnapshot>();

        private long _version;

        public ClusterMembershipSnapshot CurrentSnapshot => throw new NotSupportedException();

        public IAsyncEnumerable<ClusterMembershipSnapshot> MembershipUpdates => _updates.Reader.ReadAllAsync();

        public static SiloAddress AddressOf(string name) => SiloAddress.New(IPAddress.Loopback, name[0], 1);

        public void Set(params (string Name, SiloStatus Status)[] silos) => _updates.Writer.TryWrite(
            new ClusterMembershipSnapshot(
                silos.ToImmutableDictionary(
                    silo => AddressOf(silo.Name),
                    silo => new ClusterMember(AddressOf(silo.Name), silo.Status, silo.Name)),
                new MembershipVersion(++_version)));

        public ValueTask Refresh(
            MembershipVersion minimumVersion = default, CancellationToken cancellationToken = default) =>
            throw new NotSupportedException();

        public Task<bool> TryKill(SiloAddress siloAddress) => throw new NotSupportedException();
    }
}

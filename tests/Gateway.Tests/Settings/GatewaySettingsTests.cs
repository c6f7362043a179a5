// Goal: the bounds of settings match their messages, and the defaults are safe.
using System.Net;
using Atelier.Configuration;
using Atelier.Gateway.Hosting;
using Atelier.Gateway.Settings;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Configuration;
using Xunit;

namespace Atelier.Gateway.Tests.Settings;

public sealed class GatewaySettingsTests
{
    [Theory]
    [InlineData(31, false)]
    [InlineData(32, true)]
    [InlineData(256, true)]
    [InlineData(257, false)]
    public void TheAdministratorsKey_Has32To256Characters(int length, bool isRight)
    {
        IConfiguration configuration = Configuration(("Gateway:AdminKey", new string('k', length)));
        string? fault = Record.Exception(() => GatewayHost.ReadOptions(configuration))?.Message;
        Assert.Equal(isRight, fault is null);
        Assert.True(
            isRight || fault!.Contains("Gateway:AdminKey must have 32 to 256 characters", StringComparison.Ordinal));
    }

    [Fact]
    public void AnAdministratorsKeyWithWhiteSpace_IsRefused() => Assert.Throws<InvalidConfigurationException>(
        () => GatewayHost.ReadOptions(Configuration(("Gateway:AdminKey", new string('k', 40) + " x"))));

    [Fact]
    public void AnAcceptedSecret_MustBeAnother_AndIsAReminder()
    {
        string secret = Convert.ToBase64String(new byte[32]), other = Convert.ToBase64String(new byte[33]);
        string fault = Assert.Single(Assert.Throws<InvalidConfigurationException>(
            () => GatewayHost.ReadOptions(Configuration(("Cluster:AcceptedSecret", secret)))).Faults);
        Assert.StartsWith("Cluster:AcceptedSecret must differ from Cluster:Secret", fault, StringComparison.Ordinal);
        string warning = Assert.Single(
            GatewayHost.ReadOptions(Configuration(("Cluster:AcceptedSecret", other))).Warnings);
        Assert.StartsWith("Cluster:AcceptedSecret is set", warning, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TheLongestAdministratorsKey_IsAccepted()
    {
        string key = new('k', GatewaySettings.KeyLengthMax);
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(
            new GatewaySettings { AdminKey = key }, silo.Endpoint);
        Assert.Equal(HttpStatusCode.OK, (await gateway.Client(key).GetAsync("/v1/admin/status")).StatusCode);
        Assert.Equal(
            HttpStatusCode.Unauthorized, (await gateway.Client(key + "k").GetAsync("/v1/admin/status")).StatusCode);
    }

    [Fact]
    public void WithoutSettings_SilosAreReachedOverTls_AndClientsFromThisMachineAlone()
    {
        GatewaySettings settings = GatewayHost.ReadOptions(Configuration()).Get<GatewaySettings>();
        Assert.True(settings.Tls);
        Assert.True(IPAddress.IsLoopback(IPAddress.Parse(settings.Address)));
        Assert.Null(settings.AdminKey);
    }

    [Fact]
    public void UnwiseValues_AndMisspelledKeys_AreWarnings_AndKeysOfSilosAreNot()
    {
        IConfiguration configuration = Configuration(
            ("Gateway:RequestsBurst", "7"), ("Gateway:RequestPerSecond", "9"), ("Store:Folder", "store"),
            ("Gateway:ConnectionsMax", "200"), ("Gateway:OpenRequestsPerTenant", "200"),
            ("Silo:Name", "one"), ("Queue:LeaseTime", "00:00:02"));
        Assert.Equal(
            [
                "Gateway:RequestsBurst is 7, less than Gateway:RequestsPerSecond (100): if a tenant sends the requests "
                    + "of a whole second at once, some of them are refused.",
                "Gateway:OpenRequestsPerTenant is 200, not less than Gateway:ConnectionsMax (200): one tenant's "
                    + "streams can take all connections.",
                "Gateway:RequestPerSecond is not a key of a gateway and sets nothing. Did you mean "
                    + "Gateway:RequestsPerSecond?",
            ],
            GatewayHost.ReadOptions(configuration).Warnings);
    }

    [Theory]
    [InlineData(10_000, null, 1000, 1000)]
    [InlineData(1_000_000, null, 1000, 100_000)]
    [InlineData(200, null, 20, 20)]
    [InlineData(3, null, 1, 1)]
    [InlineData(200, 150, 150, 20)]
    public void OneTenant_AndClientsWithoutAKey_HoldATenthOfTheConnections(
        int connections, int? perTenant, int tenant, int keyless)
    {
        var settings = new GatewaySettings { ConnectionsMax = connections, OpenRequestsPerTenant = perTenant };
        Assert.Equal((tenant, keyless), (settings.TenantRequestBound, settings.KeylessRequestBound));
    }

    [Fact]
    public void MetricsOnThePortOfClients_AreRefused_ByBothKeys()
    {
        string message = Assert.Throws<InvalidConfigurationException>(
            () => GatewayHost.ReadOptions(Configuration(("Metrics:Port", "8080")))).Message;
        Assert.Contains(
            "Metrics:Port is 8080; it must be a port other than that of Gateway:Port", message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void EveryOptionsClass_IsRead()
    {
        StartOptions read = GatewayHost.ReadOptions(Configuration());
        Assert.All(
            [typeof(GatewaySettings), typeof(MetricsListener)], options => Assert.NotNull(read.Get(options)));
    }

    private static IConfiguration Configuration(params (string Key, string Value)[] settings) =>
        new ConfigurationBuilder()
            .AddInMemoryCollection(new Dictionary<string, string?>
            {
                ["Cluster:Secret"] = Convert.ToBase64String(new byte[32]),
                ["Store:Redis"] = "127.0.0.1:6379",
            })
            .AddInMemoryCollection(settings.Select(one => KeyValuePair.Create(one.Key, (string?)one.Value)))
            .Build();
}

// Goal: the bounds of settings match their messages, and the defaults are safe.
using System.Net;
using Atelier.Gateway.Settings;
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
        string? fault = Record.Exception(() => GatewaySettings.Read(configuration))?.Message;
        Assert.Equal(isRight, fault is null);
        Assert.True(
            isRight || fault!.Contains("Gateway:AdminKey must have 32 to 256 characters", StringComparison.Ordinal));
    }

    [Fact]
    public void AnAdministratorsKeyWithWhiteSpace_IsRefused() => Assert.Throws<ArgumentException>(
        () => GatewaySettings.Read(Configuration(("Gateway:AdminKey", new string('k', 40) + " x"))));

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
        GatewaySettings settings = GatewaySettings.Read(Configuration());
        Assert.True(settings.Tls);
        Assert.True(IPAddress.IsLoopback(IPAddress.Parse(settings.Address)));
        Assert.Null(settings.AdminKey);
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

// Goal: a silo obeys its settings, and a wrong one is named together with valid values. Method: settings as an operator
// writes them.
using Atelier.Grains.Hosting;
using Atelier.Silo.Hosting;
using Microsoft.Extensions.Configuration;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class SiloSettingsTests
{
    [Fact]
    public void Retention_ReachesTheGrains()
    {
        var grains = new GrainsOptions();
        Read(("Retention:Generations", "00:06:00"), ("Retention:Sessions", "1.12:00:00")).Apply(grains);
        Assert.Equal(
            (TimeSpan.FromMinutes(6), TimeSpan.FromHours(36)), (grains.Generation.Retention, grains.SessionRetention));
        grains.Checked();
        Read().Apply(grains);
        Assert.Equal(
            (TimeSpan.FromDays(7), TimeSpan.FromDays(30)), (grains.Generation.Retention, grains.SessionRetention));
    }

    [Fact]
    public void Partitions_ReachTheGrains()
    {
        var grains = new GrainsOptions();
        Read(("OpenSet:Partitions", "512")).Apply(grains);
        Assert.Equal(512, grains.Checked().OpenSetPartitions);
        Read().Apply(grains);
        Assert.Equal(256, grains.Checked().OpenSetPartitions);
    }

    [Theory]
    [InlineData("OpenSet:Partitions", "0", "1..65536")]
    [InlineData("Retention:Generations", "00:00:59", "at least 00:01:00")]
    [InlineData("Retention:Sessions", "00:59:00", "at least 01:00:00")]
    [InlineData("Retention:Sessions", "soon", "a positive time")]
    [InlineData("Silo:HttpPort", "70000", "1..65535")]
    [InlineData("Metrics:Port", "8081", "a port of its own")]
    [InlineData("Metrics:Address", "localhost", "an IP address")]
    [InlineData("Cluster:Tls", "sometimes", "true or false")]
    public void AWrongSetting_IsNamed_WithValidValues(string key, string value, string right)
    {
        string message = Assert.Throws<ArgumentException>(() => Read((key, value))).Message;
        Assert.Contains(key, message, StringComparison.Ordinal);
        Assert.Contains(right, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("10.1.2.3")]
    [InlineData("::")]
    public void WithoutTls_ASiloStartsOnLoopbackOnly(string address)
    {
        string message = Assert.Throws<ArgumentException>(
            () => Read(("Silo:Address", address), ("Cluster:Tls", "false"))).Message;
        Assert.Contains(
            $"Cluster:Tls must not be false while Silo:Address is {address}", message, StringComparison.Ordinal);
        Assert.True(Read(("Silo:Address", address)).Tls);
        Assert.False(Read(("Silo:Address", "127.0.0.1"), ("Cluster:Tls", "false")).Tls);
    }

    private static SiloSettings Read(params (string Key, string Value)[] settings) => SiloSettings.Read(
        new ConfigurationBuilder().AddInMemoryCollection(
        [
            new("Cluster:Secret", Convert.ToBase64String(new byte[32])), new("Models:Folders:0", "model"),
            .. settings.Select(one => KeyValuePair.Create<string, string?>(one.Key, one.Value)),
        ]).Build());
}

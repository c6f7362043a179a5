// Goal: a silo whose connection fails is taken out at once, for the configured time, and what a client does takes no
// silo out. Method: the policy alone, with each of the forwarder's errors.
using System.Net.Sockets;
using Atelier.Gateway.Routing;
using Microsoft.AspNetCore.Http;
using Xunit;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Health;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Tests.Routing;

public sealed class FirstFailurePolicyTests : IDestinationHealthUpdater
{
    private static readonly Exception s_reset =
        new HttpRequestException("", new IOException("The connection was reset."));

    private static readonly HttpMessageInvoker s_client = new(new SocketsHttpHandler());

    private readonly DestinationState _silo = new("silo");
    private readonly List<(DestinationState Silo, DestinationHealth Health, TimeSpan Period)> _changes = [];

    [Theory]
    [InlineData(ForwarderError.RequestBodyDestination)]
    [InlineData(ForwarderError.ResponseBodyDestination)]
    [InlineData(ForwarderError.Request)]
    public void AConnectionThatFails_TakesItsSiloOut(ForwarderError error)
    {
        Proxied(error, s_reset, TimeSpan.FromSeconds(7));
        Assert.Equal([(_silo, DestinationHealth.Unhealthy, TimeSpan.FromSeconds(7))], _changes);
    }

    [Fact]
    public void WithoutAConfiguredTime_ItIsTwoSeconds()
    {
        Proxied(ForwarderError.Request, new SocketException(), null);
        Assert.Equal(TimeSpan.FromSeconds(2), Assert.Single(_changes).Period);
    }

    [Theory]
    [InlineData(ForwarderError.None)]
    [InlineData(ForwarderError.RequestCanceled)]
    [InlineData(ForwarderError.RequestTimedOut)]
    [InlineData(ForwarderError.RequestBodyClient)]
    [InlineData(ForwarderError.RequestBodyCanceled)]
    [InlineData(ForwarderError.ResponseBodyClient)]
    [InlineData(ForwarderError.ResponseBodyCanceled)]
    [InlineData(ForwarderError.NoAvailableDestinations)]
    public void WhatAClientDoes_TakesNoSiloOut(ForwarderError error)
    {
        Proxied(error, s_reset, null);
        Assert.Empty(_changes);
    }

    // A request that cannot be sent, for example for its headers, fails before any connection does.
    [Fact]
    public void ARequestThatFailsForWhatItSays_TakesNoSiloOut()
    {
        Proxied(ForwarderError.Request, new HttpRequestException("A header is wrong.", new FormatException()), null);
        Assert.Empty(_changes);
    }

    [Fact]
    public void ARequestThatSucceeds_ChangesNothing()
    {
        Policy().RequestProxied(new DefaultHttpContext(), Cluster(null), _silo);
        Assert.Empty(_changes);
        Assert.Equal("FirstFailure", Policy().Name);
    }

    void IDestinationHealthUpdater.SetPassive(
        ClusterState cluster, DestinationState destination, DestinationHealth newHealth, TimeSpan reactivationPeriod) =>
        _changes.Add((destination, newHealth, reactivationPeriod));

    void IDestinationHealthUpdater.SetActive(
        ClusterState cluster, IEnumerable<NewActiveDestinationHealth> newHealthStates) =>
        throw new NotSupportedException();

    private FirstFailurePolicy Policy() => new(this);

    private void Proxied(ForwarderError error, Exception exception, TimeSpan? period)
    {
        var context = new DefaultHttpContext();
        context.Features.Set<IForwarderErrorFeature>(new Failure(error, exception));
        Policy().RequestProxied(context, Cluster(period), _silo);
    }

    private static ClusterState Cluster(TimeSpan? period)
    {
        var config = new ClusterConfig
        {
            ClusterId = "silos",
            HealthCheck = new HealthCheckConfig
            {
                Passive = new PassiveHealthCheckConfig { ReactivationPeriod = period },
            },
        };
        return new ClusterState("silos", new ClusterModel(config, s_client));
    }

    private sealed record Failure(ForwarderError Error, Exception? Exception) : IForwarderErrorFeature;
}

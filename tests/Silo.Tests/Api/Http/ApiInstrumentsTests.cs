// Goal: the API counts what it says it counts. Method: a listener to its meter, and a stream that is open.
using System.Diagnostics.Metrics;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Silo.Api.Http;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Api.Http;

public sealed class ApiInstrumentsTests : IDisposable
{
    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();

    private IMeterFactory Meters => _services.GetRequiredService<IMeterFactory>();

    public void Dispose() => _services.Dispose();

    [Fact]
    public void EachCall_CountsOnce()
    {
        using var measurements = new Measurements(Meters);
        var instruments = new ApiInstruments(Meters);
        instruments.Retried();
        instruments.Retried();
        instruments.Joined();
        instruments.Resubscribed();
        instruments.Refused("not_found");
        Assert.Equal(2, measurements["atelier.api.retries"]);
        Assert.Equal(1, measurements["atelier.api.joined"]);
        Assert.Equal(1, measurements["atelier.api.resubscribed"]);
        Assert.Equal(1, measurements["atelier.api.errors{code=not_found}"]);
    }

    [Fact]
    public async Task AStream_CountsWhileItIsOpen()
    {
        using var measurements = new Measurements(Meters);
        var streams = new ServerSentEvents(
            TimeProvider.System, new Lifetime(), new ApiInstruments(Meters), NullLogger<ServerSentEvents>.Instance);
        double open = -1;
        var context = new DefaultHttpContext();
        context.Response.Body = new MemoryStream();
        StreamEnd end = await streams.WriteAsync(context, _ => EventsAsync());
        Assert.Equal((StreamEnd.Finished, 1.0), (end, open));
        measurements.Observe();
        Assert.Equal(0, measurements["atelier.api.streams"]);

        async IAsyncEnumerable<ServerSentEvent> EventsAsync()
        {
            await Task.Yield();
            measurements.Observe();
            open = measurements["atelier.api.streams"];
            yield return new ServerSentEvent("done", null, new { });
        }
    }

    private sealed class Lifetime : IHostApplicationLifetime
    {
        public CancellationToken ApplicationStarted => CancellationToken.None;

        public CancellationToken ApplicationStopping => CancellationToken.None;

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public void StopApplication()
        {
        }
    }
}

// Goal: a port that cannot accept connections is reported, once a minute, and its loop neither spins nor ends. Method:
// a listener whose socket is closed, in fake time.
using System.Net;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Silo.Tests.Hosting;
using Atelier.Silo.Training;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Silo.Tests.Training;

public sealed class PeerListenerTests
{
    [Fact]
    public async Task PortThatCannotAccept_IsReportedOnceAMinute()
    {
        var (log, time) = (new LogKeeper(), new FakeTime());
        using var listener = new PeerListener(
            new IPEndPoint(IPAddress.Loopback, 0), new PeerOptions(), new PeerSecurity(null), time,
            new PeerLog(time, new LoggerFactory([log]).CreateLogger<PeerLog>()),
            (_, _, _, _) => throw new InvalidOperationException("a connection was accepted"));
        listener.Listen();
        listener.Dispose();
        using var stop = new CancellationTokenSource();
        Task running = Task.Run(() => listener.RunAsync(stop.Token), TestContext.Current.CancellationToken);
        for (int i = 0; i < 3; i++)
        {
            await time.TimersAsync(1);
            time.Advance(TimeSpan.FromSeconds(1));
        }

        await time.TimersAsync(1);
        Assert.Equal("1", Assert.Single(log.Of(644))["Count"]);

        time.Advance(TimeSpan.FromMinutes(1));
        await time.TimersAsync(1);
        Assert.Equal(["1", "4"], log.Of(644).Select(one => one["Count"]));

        await stop.CancelAsync();
        await running;
        Assert.Equal(2, log.Of(644).Length);
    }
}

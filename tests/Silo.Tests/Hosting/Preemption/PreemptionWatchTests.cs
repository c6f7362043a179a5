// Goal: on a notice the silo says that it is not ready, drains, and stops by itself before the node is taken; polls
// that fail do no harm. Method: notices and drains set by the test, in time that passes at the test's word; and a silo
// as it ships beside a stub of Azure's service.
using System.Diagnostics.Metrics;
using System.Net;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Silo.Hosting.Preemption;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Xunit;

namespace Atelier.Silo.Tests.Hosting.Preemption;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class PreemptionWatchTests : IDisposable
{
    private static readonly HealthCheckContext s_context = new();

    private readonly FakeTime _time = new();
    private readonly LogKeeper _log = new();
    private readonly StopAsked _lifetime = new();
    private readonly Source _source = new();
    private readonly Drain _one = new(), _two = new();
    private readonly ServiceProvider _services;
    private readonly PreemptionWatch _watch;

    public PreemptionWatchTests()
    {
        _services = new ServiceCollection().AddMetrics().AddSingleton<IDeviceDrain>(_one)
            .AddSingleton<IDeviceDrain>(_two).BuildServiceProvider();
        Meters = _services.GetRequiredService<IMeterFactory>();
        _watch = new PreemptionWatch(
            _source, _services, Options.Create(new PreemptionOptions()), _lifetime, _time, Meters,
            new LoggerFactory([_log]).CreateLogger<PreemptionWatch>());
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private IMeterFactory Meters { get; }

    private PreemptionNotice Notice => new("the cloud wants it", _time.GetUtcNow().AddSeconds(30));

    public void Dispose()
    {
        _watch.Dispose();
        _services.Dispose();
    }

    [Fact]
    public async Task OnANotice_TheSiloIsNotReady_Drains_AndStops()
    {
        using var measurements = new Measurements(Meters);
        await _watch.StartAsync(Cancellation);
        Assert.Equal(HealthStatus.Healthy, (await HealthAsync()).Status);
        await PollAsync(Notice);
        await Task.WhenAll(_one.Asked, _two.Asked);
        HealthCheckResult health = await HealthAsync();
        Assert.Equal(HealthStatus.Unhealthy, health.Status);
        Assert.Contains("the cloud wants it", health.Description, StringComparison.Ordinal);
        _one.End.SetResult();
        await PollAsync(Notice, timers: 2);
        Assert.False(_lifetime.Stopped.IsCompleted);

        _two.End.SetResult();
        await _lifetime.Stopped;
        Assert.Equal("True", Assert.Single(_log.Of(612))["IsDrained"]);
        Assert.Single(_log.Of(611));
        Assert.Equal(1, measurements["atelier.silo.preemptions"]);
        await _watch.StopAsync(Cancellation);
    }

    [Fact]
    public async Task ADrainThatTakesTooLong_IsLeft_BeforeTheNodeIsTaken()
    {
        await _watch.StartAsync(Cancellation);
        await PollAsync(Notice);
        await _time.TimersAsync(2);
        _time.Advance(TimeSpan.FromSeconds(23));
        Assert.False(_lifetime.Stopped.IsCompleted);
        _time.Advance(TimeSpan.FromSeconds(2));
        await _lifetime.Stopped;
        Assert.Equal("False", Assert.Single(_log.Of(612))["IsDrained"]);
        await _watch.StopAsync(Cancellation);
    }

    [Fact]
    public async Task ANoticeThatIsWithdrawn_DuringTheDrain_StopsTheSiloNevertheless()
    {
        await _watch.StartAsync(Cancellation);
        await PollAsync(Notice);
        await _one.Asked;
        await PollAsync(null, timers: 2);
        await LoggedAsync(613);
        Assert.Equal(HealthStatus.Unhealthy, (await HealthAsync()).Status);
        _one.End.SetResult();
        _two.End.SetResult();
        await _lifetime.Stopped;
        await _watch.StopAsync(Cancellation);
    }

    // Its supervisor has started it again on a node that is still about to be taken.
    [Fact]
    public async Task ASiloThatStartsUnderANotice_Waits_UntilItIsWithdrawn()
    {
        _source.Answer = () => Notice;
        Task starting = _watch.StartAsync(Cancellation);
        await AdvanceAsync(5);
        Assert.False(starting.IsCompleted);
        Assert.Single(_log.Of(616));
        await PollAsync(null);
        await starting;
        Assert.Equal(HealthStatus.Healthy, (await HealthAsync()).Status);
        Assert.False(_one.Asked.IsCompleted);

        await PollAsync(Notice);
        await _one.Asked;
        await _watch.StopAsync(Cancellation);
    }

    [Fact]
    public async Task FailingPolls_AreLoggedOnce_AndNeverFatal()
    {
        _source.Answer = () => throw new HttpRequestException("no route");
        await _watch.StartAsync(Cancellation);
        await AdvanceAsync(60);
        Assert.Contains("no route", Assert.Single(_log.Of(614))["Reason"], StringComparison.Ordinal);
        Assert.Equal(HealthStatus.Healthy, (await HealthAsync()).Status);
        Assert.InRange(_source.Polls, 6, 12);

        await PollAsync(null);
        await LoggedAsync(615);
        await PollAsync(Notice);
        await _one.Asked;
        await _watch.StopAsync(Cancellation);
    }

    [Fact]
    public async Task APollThatHangs_EndsAfterItsTimeout()
    {
        _source.Hangs = true;
        Task starting = _watch.StartAsync(Cancellation);
        await _time.TimersAsync(1);
        _time.Advance(TimeSpan.FromSeconds(5));
        await starting;
        Assert.Contains("within 5 s", Assert.Single(_log.Of(614))["Reason"], StringComparison.Ordinal);
        _source.Hangs = false;
        await _watch.StopAsync(Cancellation);
    }

    [Fact]
    public async Task ASiloAsItShips_StopsByItself_OnAzuresNotice()
    {
        string events = PreemptionNoticeTests.Events();
        await using MetadataStub stub = await MetadataStub.StartAsync(request =>
            (200, request.Path == "/metadata/instance/compute/name" ? "node_3" : events));
        var drain = new Drain();
        var silo = new ClusterPortsTests.RunningSilo
        {
            Settings =
            [
                "--Preemption:Provider=azure", $"--Preemption:Endpoint={stub.Url}", "--Preemption:Period=00:00:00.05",
            ],
            AddServices = services => services.AddSingleton<IDeviceDrain>(drain),
        };
        await silo.InitializeAsync();
        using var http = new HttpClient();
        while (await ReadyAsync() != HttpStatusCode.OK)
        {
            await Task.Delay(20, Cancellation);
        }

        events = PreemptionNoticeTests.Events(PreemptionNoticeTests.Event("Preempt", "node_3", ""));
        await drain.Asked;
        Assert.Equal(HttpStatusCode.ServiceUnavailable, await ReadyAsync());
        Assert.False(silo.Ended.IsCompleted);
        drain.End.SetResult();
        Assert.Equal(0, await silo.Ended);
        Assert.Contains(silo.Lines, line => line.Contains("Azure scheduled event Preempt", StringComparison.Ordinal));
        await silo.DisposeAsync();

        async Task<HttpStatusCode?> ReadyAsync()
        {
            try
            {
                using HttpResponseMessage answer = await http.GetAsync(
                    $"http://127.0.0.1:{silo.HttpPort}/health/ready", Cancellation);
                return answer.StatusCode;
            }
            catch (HttpRequestException)
            {
                return null; // It does not listen yet.
            }
        }
    }

    private Task<HealthCheckResult> HealthAsync() => _watch.CheckHealthAsync(s_context, Cancellation);

    // Polls once, with this answer. While the watch waits, it has one timer for its next poll, and one for the drain.
    private async Task PollAsync(PreemptionNotice? notice, int timers = 1)
    {
        _source.Answer = () => notice;
        int polls = _source.Polls;
        while (_source.Polls == polls)
        {
            await AdvanceAsync(1, timers);
        }
    }

    private async Task AdvanceAsync(int seconds, int timers = 1)
    {
        for (int i = 0; i < seconds; i++)
        {
            await _time.TimersAsync(timers);
            _time.Advance(TimeSpan.FromSeconds(1));
        }
    }

    private async Task LoggedAsync(int id)
    {
        while (_log.Of(id).Length == 0)
        {
            await Task.Delay(1, Cancellation);
        }

        Assert.Single(_log.Of(id));
    }

    private sealed class Source : IPreemptionNotice
    {
        private int _polls;

        public Func<PreemptionNotice?> Answer { get; set; } = () => null;

        public bool Hangs { get; set; }

        public int Polls => Volatile.Read(ref _polls);

        public async Task<PreemptionNotice?> PollAsync(CancellationToken cancellation)
        {
            Interlocked.Increment(ref _polls);
            if (Hangs)
            {
                await Task.Delay(Timeout.Infinite, cancellation);
            }

            return Answer();
        }
    }

    private sealed class Drain : IDeviceDrain
    {
        private readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Asked => _asked.Task.WaitAsync(Timeout.InfiniteTimeSpan);

        public TaskCompletionSource End { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task DrainAsync()
        {
            _asked.TrySetResult();
            return End.Task.WaitAsync(Timeout.InfiniteTimeSpan);
        }
    }

    private sealed class StopAsked : IHostApplicationLifetime
    {
        private readonly TaskCompletionSource _asked = new();

        public Task Stopped => _asked.Task.WaitAsync(Timeout.InfiniteTimeSpan);

        public CancellationToken ApplicationStarted => CancellationToken.None;

        public CancellationToken ApplicationStopping => CancellationToken.None;

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public void StopApplication() => _asked.TrySetResult();
    }
}
#pragma warning restore VSTHRD003

// Goal: a picture is one trace, whichever workers draw it and whether or not it is recorded, and the log events about
// it carry that trace's id. Method: a request with a trace, a silo that dies during the work, and a listener.
using System.Collections.Concurrent;
using System.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;
using Atelier.Grains.Telemetry;
using Atelier.Grains.Tests.Cluster;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Xunit;
using InProcessSiloHandle = Orleans.TestingHost.InProcessSiloHandle;

namespace Atelier.Grains.Tests.Telemetry;

public sealed class TraceTests
{
    [Fact]
    public async Task APictureThatIsTakenOver_IsOneTrace_WithTheClaimsOfBothWorkers()
    {
        var devices = new ConcurrentDictionary<string, FakeDevice>(StringComparer.Ordinal);
        var traces = new TraceOfEvents();
        int silos = 0;

        // The first silo, to which the test's client is connected, has no device.
        await using TestCluster cluster = await TestCluster.StartAsync(
            3,
            name => Interlocked.Increment(ref silos) == 1 ? null
                : devices[name] = new FakeDevice("d", 2) { Pace = TimeSpan.FromMilliseconds(10) },
            services: (_, services) => services.AddSingleton<ILoggerProvider>(traces));
        var trace = ActivityTraceId.CreateRandom();
        using ListenedTrace listened = ListenedTrace.To(trace);
        await SubmitAsync(cluster, trace, ActivityTraceFlags.Recorded);
        await foreach (GenerationEvent one in cluster.Generation("g").WatchAsync(
            EventNumber.Before, TestContext.Current.CancellationToken))
        {
            if (one.Step == 5)
            {
                break;
            }
        }

        string first = cluster.Log.Of(107)[^1]["Worker"];
        InProcessSiloHandle victim = cluster.Silos.Silos.Single(
            silo => first.StartsWith($"{silo.Name}/", StringComparison.Ordinal));
        devices[victim.Name].Die();
        await cluster.Silos.KillSiloAsync(victim, TestContext.Current.CancellationToken);
        List<GenerationEvent> events = await cluster.WatchAsync("g");
        Assert.Equal(GenerationPhase.Done, events[^1].Phase);
        await Eventually.TrueAsync(() => listened.Ended.Any(one => one.OperationName == "generation.decode"));

        Activity submit = Assert.Single(listened.Ended, one => one.OperationName == GenerationActivities.Submit);
        Activity[] claims =
        [
            .. listened.Ended.Where(one => one.OperationName == GenerationActivities.Claim
                && (string?)one.GetTagItem("atelier.outcome") == "granted"),
        ];
        Assert.All(listened.Ended.Except([submit]), one => Assert.Equal(submit.SpanId, one.ParentSpanId));
        Assert.Equal(2, claims.Select(one => one.GetTagItem("atelier.worker")).Distinct().Count());
        Assert.Equal(4, claims.Select(one => one.GetTagItem("atelier.claim.epoch")).Distinct().Count());
        Activity denoise = listened.Ended.Last(one => one.OperationName == "generation.denoise");
        Assert.NotEqual(first, denoise.GetTagItem("atelier.worker"));
        Assert.Equal(claims[^2].GetTagItem("atelier.claim.epoch"), denoise.GetTagItem("atelier.claim.epoch"));
        Assert.Equal(4, traces.Of(107).Length);
        Assert.All([.. traces.Of(104), .. traces.Of(107)], one => Assert.Equal(trace, one));
        Assert.NotEmpty(traces.Of(104));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AFailure_IsLoggedWithTheTraceOfItsRequest(bool isListened)
    {
        var traces = new TraceOfEvents();
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, _ => new FakeDevice("d", 2)
            {
                Evaluating = _ => throw new DeviceException(GenerationError.KernelFailed, "A kernel failed."),
            },
            services: (_, services) => services.AddSingleton<ILoggerProvider>(traces));
        var trace = ActivityTraceId.CreateRandom();
        using ListenedTrace? listened = isListened ? ListenedTrace.To(ActivityTraceId.CreateRandom()) : null;
        await SubmitAsync(cluster, trace, ActivityTraceFlags.None);
        Assert.Equal(GenerationPhase.Failed, (await cluster.WatchAsync("g"))[^1].Phase);
        Assert.All([107, 108, 305], id => Assert.All(traces.Of(id), one => Assert.Equal(trace, one)));
        Assert.All([107, 108, 305], id => Assert.NotEmpty(traces.Of(id)));
        Assert.Empty(listened?.Ended ?? []);
    }

    // As the API does.
    private static async Task SubmitAsync(TestCluster cluster, ActivityTraceId trace, ActivityTraceFlags flags)
    {
        using Activity request = new Activity("request")
            .SetParentId(trace, ActivitySpanId.CreateRandom(), flags).Start();
        GenerationActivities.Propagate();
        await cluster.SubmitAsync("g", new Submission { Spec = TestCluster.Spec(1, steps: 40) });
    }

    /// <summary>The activities of one trace; all others are not recorded.</summary>
    private sealed class ListenedTrace : IDisposable
    {
        private ActivityListener? _listener;

        public ConcurrentQueue<Activity> Ended { get; } = new();

        public static ListenedTrace To(ActivityTraceId trace)
        {
            var listened = new ListenedTrace();
            listened._listener = new ActivityListener
            {
                ShouldListenTo = source => source.Name.StartsWith("Atelier.", StringComparison.Ordinal),
                Sample = (ref ActivityCreationOptions<ActivityContext> options) => options.TraceId == trace
                    ? ActivitySamplingResult.AllDataAndRecorded : ActivitySamplingResult.None,
                ActivityStopped = listened.Ended.Enqueue,
            };
            ActivitySource.AddActivityListener(listened._listener);
            return listened;
        }

        public void Dispose() => _listener?.Dispose();
    }

    /// <summary>The current trace at every event of the log.</summary>
    private sealed class TraceOfEvents : ILoggerProvider, ILogger
    {
        private readonly ConcurrentQueue<(int Id, ActivityTraceId? Trace)> _events = new();

        public ActivityTraceId?[] Of(int id) => [.. _events.Where(one => one.Id == id).Select(one => one.Trace)];

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) => _events.Enqueue((eventId.Id, Activity.Current?.TraceId));

        public void Dispose()
        {
        }
    }
}

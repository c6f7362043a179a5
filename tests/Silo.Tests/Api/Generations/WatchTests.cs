// Goal: a watch continues where its stream broke, a call whose outcome is unknown is retried a few times, and streams
// are kept alive and end as they should. Method: grains that break on request, and a clock that a test advances.
using System.Collections.Concurrent;
using System.Reflection;
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Hosting.Internal;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Api.Generations;

public sealed class WatchTests
{
    private static readonly GenerationKey s_key = new(new TenantId("a"), new GenerationId("b"));
    private static readonly Dictionary<string, Func<Exception>> s_breaks = new()
    {
        ["the grain moves"] = () => new EnumerationAbortedException("moved"),
        ["no answer"] = () => new TimeoutException(),
        ["the silo dies"] = () => new SiloUnavailableException(),
        ["the store fails"] = () => new IOException(),
    };

    private static readonly ApiInstruments s_instruments =
        new(new ServiceCollection().AddMetrics().BuildServiceProvider()
            .GetRequiredService<System.Diagnostics.Metrics.IMeterFactory>());

    public static TheoryData<string> Breaks() => [.. s_breaks.Keys];

    [Theory]
    [MemberData(nameof(Breaks))]
    public async Task StreamThatBreaksAfterEveryEvent_IsDeliveredCompletelyAndOnce(string what)
    {
        GenerationEvent[] all = [
            .. Enumerable.Range(0, 7)
            .Select(i => new GenerationEvent { Number = new EventNumber(i, 0), Phase = (GenerationPhase)i })];
        var clock = new TurnedClock(turnsByItself: true);
        var watch = new GenerationWatch(Grains(after => BrokenAsync(all, after, s_breaks[what])), clock, s_instruments);
        List<GenerationEvent> seen = [];
        await foreach (GenerationEvent one in watch.WatchAsync(s_key, EventNumber.Before, ApiCluster.Cancellation))
        {
            seen.Add(one);
        }

        Assert.Equal(all, seen);
    }

    [Fact]
    public async Task StreamThatStaysAway_EndsWithUnavailable()
    {
        var watch = new GenerationWatch(
            Grains(after => BrokenAsync([], after, () => new TimeoutException())), new TurnedClock(turnsByItself: true),
            s_instruments);
        ApiException error = await Assert.ThrowsAsync<ApiException>(async () =>
        {
            await foreach (ImageEvent one in watch.MergeAsync([s_key, s_key], ApiCluster.Cancellation))
            {
                Assert.Fail(one.ToString());
            }
        });
        Assert.Equal(503, error.Error.Status);
    }

    [Fact]
    public async Task StreamThatStaysAway_IsTriedAgainForAMinute_WithGrowingPauses()
    {
        var clock = new TurnedClock(turnsByItself: true);
        var watch = new GenerationWatch(
            Grains(after => BrokenAsync([], after, () => new TimeoutException())), clock, s_instruments);
        await Assert.ThrowsAsync<ApiException>(async () =>
        {
            await foreach (GenerationEvent one in watch.WatchAsync(s_key, EventNumber.Before, ApiCluster.Cancellation))
            {
                Assert.Fail(one.ToString());
            }
        });
        Assert.InRange(clock.Pauses.Count, 50, 70);
        Assert.Equal(clock.Pauses.Order(), clock.Pauses);
        Assert.InRange(clock.Pauses.Sum(pause => pause.TotalSeconds), 45, 65);
    }

    [Fact]
    public async Task CallWithoutAnAnswer_IsMadeAFewTimes()
    {
        var lifetime = Lifetime();
        var calls = new GrainCaller(new TurnedClock(turnsByItself: true), lifetime, s_instruments);
        int made = 0;
        Assert.Equal(GrainCaller.CallsMax, await calls.CallAsync(() =>
            ++made < GrainCaller.CallsMax ? throw new TimeoutException() : Task.FromResult(made)));
        ApiException error =
            await Assert.ThrowsAsync<ApiException>(() =>
                calls.CallAsync(() => Task.FromException(new SiloUnavailableException())));
        Assert.Equal((503, "unavailable"), (error.Error.Status, error.Error.Code));
        await Assert.ThrowsAsync<InvalidOperationException>(() =>
            calls.CallAsync(() => Task.FromException(new InvalidOperationException())));
        lifetime.StopApplication();
        error = await Assert.ThrowsAsync<ApiException>(() =>
            calls.CallAsync(() => Task.FromException(new TimeoutException())));
        Assert.Equal("server_stopping", error.Error.Code);
    }

    [Fact]
    public async Task Silence_IsFilledWithComments()
    {
        var clock = new TurnedClock();
        var body = new Written();
        var more = new TaskCompletionSource();
        Task<StreamEnd> writing = Sse(clock, Lifetime()).WriteAsync(Context(body), OneAfterAsync);
        for (int i = 1; i <= 2; i++)
        {
            await clock.UntilArmedAsync();
            clock.Turn(ServerSentEvents.KeepAlive);
            await body.UntilAsync(text => text.Split(": keep-alive\n\n").Length == i + 1);
        }

        more.SetResult();
        Assert.Equal(StreamEnd.Finished, await writing);
        Assert.Equal(": keep-alive\n\n: keep-alive\n\nid: 1.0\nevent: a\ndata: {\"x\":1}\n\n", body.Text);

        async IAsyncEnumerable<ServerSentEvent> OneAfterAsync([EnumeratorCancellation] CancellationToken cancellation)
        {
            await more.Task.WaitAsync(cancellation);
            yield return new ServerSentEvent("a", "1.0", new { X = 1 });
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ServerThatStops_EndsStreamsCleanly(bool farewell)
    {
        var lifetime = Lifetime();
        var body = new Written();
        Task<StreamEnd> writing = Sse(TimeProvider.System, lifetime).WriteAsync(
            Context(body), EndlessAsync, farewell ? ApiError.Stopping : null);
        await body.UntilAsync(text => text.Length > 0);
        lifetime.StopApplication();
        Assert.Equal(StreamEnd.Stopping, await writing);
        Assert.Equal(
            farewell, body.Text.Contains("event: error\ndata: {\"error\":{\"message\":", StringComparison.Ordinal));
        Assert.EndsWith("\n\n", body.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FailureInAStream_IsItsLastEvent()
    {
        var body = new Written();
        Assert.Equal(
            StreamEnd.Finished, await Sse(TimeProvider.System, Lifetime()).WriteAsync(
                Context(body), _ => FailingAsync(new ApiException(ApiError.Unavailable))));
        Assert.Contains("\"code\":\"unavailable\"", body.Text, StringComparison.Ordinal);
        body = new Written();
        Assert.Equal(
            StreamEnd.Finished, await Sse(TimeProvider.System, Lifetime()).WriteAsync(
                Context(body), _ => FailingAsync(new InvalidOperationException("secret"))));
        Assert.Contains("\"code\":\"internal_error\"", body.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", body.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ClientThatGoes_IsADisconnect()
    {
        var body = new Written();
        HttpContext context = Context(body);
        using var gone = new CancellationTokenSource();
        context.RequestAborted = gone.Token;
        Task<StreamEnd> writing = Sse(TimeProvider.System, Lifetime()).WriteAsync(context, EndlessAsync);
        await body.UntilAsync(text => text.Length > 0);
        await gone.CancelAsync();
        Assert.Equal(StreamEnd.Disconnected, await writing);
    }

    private static ApplicationLifetime Lifetime() => new(NullLogger<ApplicationLifetime>.Instance);

    private static ServerSentEvents Sse(TimeProvider clock, IHostApplicationLifetime lifetime) =>
        new(clock, lifetime, s_instruments, NullLogger<ServerSentEvents>.Instance);

    private static DefaultHttpContext Context(Stream body) => new() { Response = { Body = body } };

    private static async IAsyncEnumerable<ServerSentEvent> EndlessAsync([
        EnumeratorCancellation] CancellationToken cancellation)
    {
        yield return new ServerSentEvent("a", null, new { X = 1 });
        await Task.Delay(Timeout.Infinite, cancellation);
    }

    private static async IAsyncEnumerable<ServerSentEvent> FailingAsync(Exception error)
    {
        yield return new ServerSentEvent("a", null, new { X = 1 });
        await Task.FromException(error);
    }

    // One event, and then the stream breaks; it also breaks before the first one.
    private static async IAsyncEnumerable<GenerationEvent> BrokenAsync(
        GenerationEvent[] all, EventNumber after, Func<Exception> broken)
    {
        await Task.Yield();
        foreach (GenerationEvent one in all.Where(one => one.Number > after).Take(1))
        {
            yield return one;
        }

        throw broken();
    }

    private static IGrainFactory Grains(Func<EventNumber, IAsyncEnumerable<GenerationEvent>> watch)
    {
        IGenerationGrain generation = Answering<IGenerationGrain>(arguments => watch((EventNumber)arguments[0]!));
        return Answering<IGrainFactory>(_ => generation);
    }

    private static T Answering<T>(Func<object?[], object> answer) where T : class
    {
        T proxy = DispatchProxy.Create<T, AnsweringProxy>();
        ((AnsweringProxy)(object)proxy).Answer = answer;
        return proxy;
    }

    /// <summary>Answers every call in the same way.</summary>
    public class AnsweringProxy : DispatchProxy
    {
        internal Func<object?[], object> Answer { get; set; } = null!;

        protected override object Invoke(MethodInfo? targetMethod, object?[]? args) => Answer(args!);
    }

    /// <summary>A body whose parts a test waits for.</summary>
    private sealed class Written : MemoryStream
    {
        private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Text
        {
            get
            {
                lock (this)
                {
                    return System.Text.Encoding.UTF8.GetString(ToArray());
                }
            }
        }

        public async Task UntilAsync(Func<string, bool> condition)
        {
            while (true)
            {
                Task more = _more.Task;
                if (condition(Text))
                {
                    return;
                }

                await more.WaitAsync(ApiCluster.Cancellation);
            }
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            lock (this)
            {
                Write(buffer.Span);
            }

            TaskCompletionSource more = _more;
            _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            more.SetResult();
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>A clock whose timers run when a test advances it, or at once.</summary>
    private sealed class TurnedClock(bool turnsByItself = false) : TimeProvider
    {
        private readonly List<TurnedTimer> _timers = [];
        private TaskCompletionSource _armed = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>The times of all timers, if it turns by itself.</summary>
        public ConcurrentQueue<TimeSpan> Pauses { get; } = new();

        public Task UntilArmedAsync() => _armed.Task.WaitAsync(ApiCluster.Cancellation);

        public void Turn(TimeSpan time)
        {
            TurnedTimer[] due;
            lock (_timers)
            {
                due = [.. _timers.Where(timer => timer.Due <= time)];
                _timers.Clear();
                _armed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            Array.ForEach(due, timer => timer.Run());
        }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = new TurnedTimer(callback, state, dueTime);
            if (turnsByItself)
            {
                Pauses.Enqueue(dueTime);
                ThreadPool.QueueUserWorkItem(_ => timer.Run());
                return timer;
            }

            lock (_timers)
            {
                _timers.Add(timer);
                _armed.TrySetResult();
            }

            return timer;
        }

        private sealed class TurnedTimer(TimerCallback callback, object? state, TimeSpan due) : ITimer
        {
            public TimeSpan Due => due;

            public void Run() => callback(state);

            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}

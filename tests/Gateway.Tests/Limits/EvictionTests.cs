// Goal: the gateway keeps connections that are in use, lets no address take more than its share, and gives an idle
// connection that it evicts a moment to close. Method: connections without sockets, from addresses that the test
// chooses.
using System.Net;
using Atelier.Gateway.Limits;
using Atelier.Gateway.Settings;
using Atelier.Gateway.Tests.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Limits;

public sealed class EvictionTests
{
    private readonly HeldClock _clock = new();

    [Fact]
    public async Task AnAddressWithMoreThanItsShare_MakesRoomForItsOwn()
    {
        Connections connections = Of(max: 4);
        using var other = new Open(connections, "192.0.2.1");
        Open[] greedy = [.. Enumerable.Range(0, 3).Select(_ => new Open(connections, "192.0.2.2"))];
        using var next = new Open(connections, "192.0.2.2");
        Open[] all = [other, .. greedy, next];
        Assert.Equal([false, true, false, false, false], all.Select(one => one.IsAskedToClose));
        await Task.WhenAll(greedy.Select(one => one.EndAsync()));
    }

    [Fact]
    public void AnAddressWithinItsShare_TakesTheRoomOfTheOneThatWasIdleLongest()
    {
        Connections connections = Of(max: 4);
        using Open first = new(connections, "192.0.2.1"), second = new(connections, "192.0.2.1"),
            third = new(connections, "192.0.2.2"), fourth = new(connections, "192.0.2.3");
        using var next = new Open(connections, "192.0.2.4");
        Open[] idle = [first, second, third, fourth];
        Assert.Equal([true, false, false, false], idle.Select(one => one.IsAskedToClose));
    }

    [Fact]
    public async Task WhereAllAreBusy_ANewConnectionIsAborted()
    {
        Connections connections = Of(max: 2);
        using Open first = new(connections, "192.0.2.1"), second = new(connections, "192.0.2.2");
        var done = new TaskCompletionSource();
        Task[] requests = [first.RequestAsync(done.Task), second.RequestAsync(done.Task)];
        using var next = new Open(connections, "192.0.2.3");
        Assert.True(next.IsAborted);
        Assert.True(next.IsEnded);
        Assert.False(first.IsAborted || second.IsAborted);
        done.SetResult();
        await Task.WhenAll(requests);
        using var later = new Open(connections, "192.0.2.3");
        Assert.False(later.IsAborted);
    }

    // Up to a quarter may take a moment to close; further ones are cut, so that closing connections do not pile up.
    [Fact]
    public async Task AnEvictedConnection_HasAMomentToClose_UnlessManyCloseAlready()
    {
        Connections connections = Of(max: 4);
        Open[] idle = [.. Enumerable.Range(1, 4).Select(i => new Open(connections, $"192.0.2.{i}"))];
        Open[] next = [.. Enumerable.Range(5, 3).Select(i => new Open(connections, $"192.0.2.{i}"))];
        Assert.Equal([true, true, false, false], idle.Select(one => one.IsAskedToClose));
        Assert.Equal([false, false, true, false], idle.Select(one => one.IsAborted));
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Task.WhenAll(idle[0].AbortedAsync, idle[1].AbortedAsync);

        // Closed ones no longer count: there is time to close again.
        await Task.WhenAll(idle[..3].Select(one => one.EndAsync()));
        using var last = new Open(connections, "192.0.2.9");
        Assert.Equal((true, false), (idle[3].IsAskedToClose, idle[3].IsAborted));
        await Task.WhenAll(next.Append(idle[3]).Select(one => one.EndAsync()));
    }

    [Fact]
    public async Task AnEvictedConnectionWithARequest_IsNotCut()
    {
        Connections connections = Of(max: 1);
        using var first = new Open(connections, "192.0.2.1");
        using var next = new Open(connections, "192.0.2.2");
        Assert.True(first.IsAskedToClose);
        var done = new TaskCompletionSource();
        Task request = first.RequestAsync(done.Task);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await _clock.FiredAsync;
        Assert.False(first.IsAborted);
        done.SetResult();
        await request;
    }

    // Its request may end after the connection.
    [Fact]
    public async Task AConnectionThatIsGone_IsIdleNoMore_AndTakesNoRoom()
    {
        Connections connections = Of(max: 1);
        var first = new Open(connections, "192.0.2.1");
        var done = new TaskCompletionSource();
        Task request = first.RequestAsync(done.Task);
        await first.EndAsync();
        done.SetResult();
        await request;
        for (int i = 2; i < 5; i++)
        {
            var next = new Open(connections, $"192.0.2.{i}");
            Assert.False(next.IsAborted || next.IsEnded);
            var after = new Open(connections, $"192.0.2.{i}");
            Assert.True(next.IsAskedToClose);
            Assert.False(first.IsAskedToClose || after.IsAborted);
            await Task.WhenAll(next.EndAsync(), after.EndAsync());
        }
    }

    private Connections Of(int max) =>
        new(new GatewaySettings { ConnectionsMax = max }, _clock, TestTelemetry.Refusals);

    // A connection that is open until it is asked to close.
    private sealed class Open : IDisposable, IConnectionLifetimeNotificationFeature
    {
        private readonly Connections _connections;
        private readonly Context _context = new();
        private readonly TaskCompletionSource _end = new();
        private readonly Task _served;

        public Open(Connections connections, string address)
        {
            _connections = connections;
            _context.RemoteEndPoint = new IPEndPoint(IPAddress.Parse(address), 1);
            _context.Features.Set<IConnectionLifetimeNotificationFeature>(this);
            _served = connections.ServeAsync(_context, _ => _end.Task);
        }

        public CancellationToken ConnectionClosedRequested { get; set; }

        public bool IsAskedToClose { get; private set; }

        public bool IsAborted => AbortedAsync.IsCompleted;

        public bool IsEnded => _served.IsCompleted;

        public Task AbortedAsync => _context.Aborted.Task;

        public void RequestClose() => IsAskedToClose = true;

        public Task RequestAsync(Task until) =>
            _connections.MarkAsync(new DefaultHttpContext(_context.Features), _ => until);

        public Task EndAsync()
        {
            _end.TrySetResult();
            return _served;
        }

        public void Dispose() => _end.TrySetResult();

        private sealed class Context : DefaultConnectionContext
        {
            public TaskCompletionSource Aborted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

            public override void Abort(ConnectionAbortedException abortReason) => Aborted.TrySetResult();
        }
    }

    // Time advances when the test says so, for timers too.
    private sealed class HeldClock : TimeProvider
    {
        private readonly List<Action> _timers = [];
        private readonly TaskCompletionSource _fired = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task FiredAsync => _fired.Task;

        public void Advance(TimeSpan time)
        {
            Assert.Equal(TimeSpan.FromSeconds(1), time);
            _timers.ForEach(timer => timer());
            _timers.Clear();
            _fired.TrySetResult();
        }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _timers.Add(() => callback(state));
            return new NoTimer();
        }

        private sealed class NoTimer : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}

// Goal: a client that waits sees its place, and that its model is being loaded, when either has changed, and the queue
// is not asked more often than necessary. Method: a stream of events, grains and a clock that the test controls.
using System.Reflection;
using System.Threading.Channels;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Tests;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Tests.Devices;
using Atelier.Silo.Tests.Hosting;
using Xunit;

namespace Atelier.Silo.Tests.Api.Generations;

public sealed class PlacesInQueueTests
{
    private static readonly GenerationView s_view = new()
    {
        Key = new(new TenantId("a"), new GenerationId("b")),
        Submission = new Submission { Spec = TinyModels.Spec(TinyModels.First) }, Phase = GenerationPhase.QueuedEncode,
        AcceptedAt = DateTimeOffset.UnixEpoch,
    };

    private static readonly TimeSpan s_second = TimeSpan.FromSeconds(1);
    private readonly FakeTime _time = new();
    private readonly Channel<GenerationEvent> _events = Channel.CreateUnbounded<GenerationEvent>();
    private readonly Asked _grains = Asked.New();

    [Fact]
    public async Task AWaitingStream_ReportsThePlaceWhenItChanges_AndNothingOnceWorkHasBegun()
    {
        await using IAsyncEnumerator<ServerSentEvent> stream = StreamAsync(ApiCluster.Cancellation);
        Happens(GenerationPhase.QueuedEncode);
        Assert.True(await stream.MoveNextAsync());
        Assert.Equal(("queued_encode", "0.0"), (stream.Current.Name, stream.Current.Id));

        // The same place, then another one, then a load that continues.
        _grains.Place = new QueuePlace(2, s_second);
        ServerSentEvent place = await NextAsync(stream, s_second);
        Assert.Equal(("queued_encode", null), (place.Name, place.Id));
        Assert.Equal((2, 1, null), PlaceIn(place));
        Task<bool> next = stream.MoveNextAsync().AsTask();
        await PassAsync(s_second);
        await PassAsync(s_second);
        await _time.TimersAsync(1);
        Assert.False(next.IsCompleted);
        Assert.Equal(3, _grains.Asks);
        _grains.Place = new QueuePlace(0, TimeSpan.FromSeconds(3), Loading: s_second);
        await PassAsync(s_second);
        Assert.True(await next);
        Assert.Equal((0, 3, 1), PlaceIn(stream.Current));
        _grains.Place = new QueuePlace(0, TimeSpan.FromSeconds(3), Loading: 2 * s_second);
        Assert.Equal((0, 3, 2), PlaceIn(await NextAsync(stream, s_second)));

        next = stream.MoveNextAsync().AsTask();
        Happens(GenerationPhase.Encoding);
        Assert.True(await next);
        Assert.Equal("encoding", stream.Current.Name);
        next = stream.MoveNextAsync().AsTask();
        int asks = _grains.Asks;
        await _time.TimersAsync(0);
        _time.Advance(TimeSpan.FromMinutes(1));
        Happens(GenerationPhase.Done);
        Assert.True(await next);
        Assert.Equal(("done", asks), (stream.Current.Name, _grains.Asks));
        _events.Writer.Complete();
        Assert.False(await stream.MoveNextAsync());
    }

    [Fact]
    public async Task AnEvent_DoesNotWaitForAQueueThatDoesNotAnswer()
    {
        _grains.IsSilent = true;
        await using IAsyncEnumerator<ServerSentEvent> stream = StreamAsync(ApiCluster.Cancellation);
        Task<bool> next = stream.MoveNextAsync().AsTask();
        await PassAsync(s_second);
        await Eventually.TrueAsync(() => _grains.Asks == 1);
        Happens(GenerationPhase.Encoding);
        Assert.True(await next);
        Assert.Equal("encoding", stream.Current.Name);
    }

    [Fact]
    public async Task AClientThatLeaves_EndsTheStream()
    {
        using var gone = new CancellationTokenSource();
        await using IAsyncEnumerator<ServerSentEvent> stream = StreamAsync(gone.Token);
        Task leaving = LeaveAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await stream.MoveNextAsync());
        await leaving;

        async Task LeaveAsync()
        {
            await _time.TimersAsync(1);
            await gone.CancelAsync();
        }
    }

    [Theory]
    [InlineData(null, 3)]
    [InlineData(0.0, 1)]
    [InlineData(50.0, 5)]
    [InlineData(1e6, 15)]
    public void ThoseWithALongWait_AskLessOften(double? wait, double seconds) => Assert.Equal(
        TimeSpan.FromSeconds(seconds),
        PlacesInQueue.PeriodOf(new QueuePlace(1, wait is { } one ? TimeSpan.FromSeconds(one) : null)));

    private IAsyncEnumerator<ServerSentEvent> StreamAsync(CancellationToken cancellation) =>
        new PlacesInQueue(_grains.Factory, _time)
            .AddAsync(s_view, _events.Reader.ReadAllAsync(cancellation), cancellation)
            .GetAsyncEnumerator(cancellation);

    private void Happens(GenerationPhase phase) => Assert.True(_events.Writer.TryWrite(
        new GenerationEvent { Number = EventNumber.Of(phase), Phase = phase }));

    private static (int?, double?, double?) PlaceIn(ServerSentEvent sent)
    {
        var data = (GenerationEventResponse)sent.Data;
        return (data.Position, data.WaitSeconds, data.LoadingSeconds);
    }

    private async Task<ServerSentEvent> NextAsync(IAsyncEnumerator<ServerSentEvent> stream, TimeSpan after)
    {
        Task<bool> next = stream.MoveNextAsync().AsTask();
        await PassAsync(after);
        Assert.True(await next);
        return stream.Current;
    }

    private async Task PassAsync(TimeSpan time)
    {
        await _time.TimersAsync(1);
        _time.Advance(time);
    }

    /// <summary>A queue that knows where a generation waits.</summary>
    public class Asked : DispatchProxy
    {
        private int _asks;

        internal QueuePlace? Place { get; set; }

        internal bool IsSilent { get; set; }

        internal int Asks => Volatile.Read(ref _asks);

        internal IGrainFactory Factory { get; private set; } = null!;

        internal static Asked New()
        {
            IWorkQueueGrain queue = Create<IWorkQueueGrain, Asked>();
            var asked = (Asked)(object)queue;
            asked.Factory = WatchedGrains.Forwarding.To(Create<IGrainFactory, Asked>(), (_, _) => queue);
            return asked;
        }

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod!.Name != nameof(IWorkQueueGrain.PlaceOfAsync))
            {
                return null;
            }

            Interlocked.Increment(ref _asks);
            return IsSilent ? new TaskCompletionSource<QueuePlace?>().Task : Task.FromResult(Place);
        }
    }
}

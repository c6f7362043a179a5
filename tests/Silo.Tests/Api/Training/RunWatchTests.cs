// Goal: every step and note of a run is sent once, in order, from wherever a client resumes. Method: the watch over a
// scripted run, whose records are in a folder.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Training;
using Atelier.Silo.Blobs;
using Atelier.Silo.Tests.Hosting;
using Atelier.Silo.Training;
using Atelier.Training;
using Atelier.Training.Checkpoints;
using Xunit;

namespace Atelier.Silo.Tests.Api.Training;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class RunWatchTests : IAsyncDisposable
{
    private static readonly RunId s_run = new("run");

    private readonly string _folder = Directory.CreateTempSubdirectory("run-watch").FullName;
    private readonly FakeTime _time = new();
    private readonly IBlobStore _blobs;
    private readonly StepHistory _history;
    private readonly RunWatch _watch;
    private RunView? _view;
    private int _asked;

    public RunWatchTests()
    {
        _blobs = new FolderBlobStore(new FolderBlobStoreOptions { Folder = _folder }, TimeProvider.System);
        _history = new StepHistory(_blobs);
        _watch = new RunWatch(
            _ =>
            {
                _asked++;
                return Task.FromResult(_view);
            },
            _history, _time);
    }

    [Fact]
    public async Task EveryStepAndNote_IsSentOnce_InOrder_FromAnyPlaceOn()
    {
        string first = await CommitAsync(null, 0, 10), second = await CommitAsync(first, 10, 15),
            other = await CommitAsync(null, 0, 3);
        _view = View(RunPhase.Done, Stage("a", second, 15, 2), Stage("b", other, 3, 1));
        ServerSentEvent[] all = await AllAsync(default);
        Assert.Equal(
            [
                .. Enumerable.Repeat("note", 2), .. Enumerable.Repeat("step", 15), "stage_done", "note",
                .. Enumerable.Repeat("step", 3), "stage_done", "end",
            ],
            all.Select(one => one.Name));
        Assert.Equal(
            [.. Enumerable.Range(0, 15), .. Enumerable.Range(0, 3)],
            all.Where(one => one.Name == "step").Select(one => (int)((RunEventResponse)one.Data).Step!.Step));
        Assert.Equal(all.Length, all.Select(one => one.Id).Distinct().Count() + 1); // The end has no place of its own.
        for (int i = 0; i < all.Length - 1; i++)
        {
            Assert.True(RunCursor.TryParse(all[i].Id, out RunCursor after));
            Assert.Equal(all[(i + 1)..].Select(one => (one.Name, one.Id)),
                (await AllAsync(after)).Select(one => (one.Name, one.Id)));
        }
    }

    [Fact]
    public async Task StepsFollow_WhenTheirCheckpointIsCommitted_AndProgressBetween()
    {
        string first = await CommitAsync(null, 0, 10);
        _view = View(RunPhase.Running, Stage("a", first, 12, 0));
        await using IAsyncEnumerator<ServerSentEvent> events =
            _watch.WatchAsync(s_run, default, ApiCluster.Cancellation).GetAsyncEnumerator(ApiCluster.Cancellation);
        for (int i = 0; i < 10; i++)
        {
            Assert.True(await events.MoveNextAsync());
            Assert.Equal(("step", $"0.{i + 1}.0"), (events.Current.Name, events.Current.Id));
        }

        Assert.True(await events.MoveNextAsync());
        Assert.Equal(("progress", (string?)null), (events.Current.Name, events.Current.Id));
        Assert.Equal(12, ((RunEventResponse)events.Current.Data).Progress!.Step);
        Task<bool> next = events.MoveNextAsync().AsTask();
        await TurnAsync(next); // Nothing has changed.
        Assert.False(next.IsCompleted);
        _view = View(RunPhase.Running, Stage("a", await CommitAsync(first, 10, 20), 20, 0));
        await TurnAsync(next);
        Assert.True(await next);
        Assert.Equal("0.11.0", events.Current.Id);
        _view = View(RunPhase.Failed, Stage("a", await CommitAsync(first, 10, 20), 20, 0));
        while (events.Current.Name != "end")
        {
            next = events.MoveNextAsync().AsTask();
            while (!next.IsCompleted)
            {
                await TurnAsync(next);
            }

            Assert.True(await next);
        }

        Assert.False(await events.MoveNextAsync());
    }

    [Fact]
    public async Task WatchesOfARun_ShareItsViews()
    {
        _view = View(RunPhase.Running, Stage("a", null, 0, 0));
        using var leaving = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
        var watches = new List<Task>();
        for (int i = 0; i < 100; i++)
        {
            watches.Add(ReadAsync());
        }

        await _time.TimersAsync(100);
        Assert.Equal(1, _asked);
        await leaving.CancelAsync();
        await Task.WhenAll(watches);

        async Task ReadAsync()
        {
            try
            {
                await foreach (ServerSentEvent _ in _watch.WatchAsync(s_run, default, leaving.Token))
                {
                }
            }
            catch (OperationCanceledException)
            {
                // The test is over.
            }
        }
    }

    [Theory]
    [InlineData("1.2.3", true)]
    [InlineData("1.2", false)]
    [InlineData("1.2.-3", false)]
    [InlineData("a.2.3", false)]
    [InlineData("", false)]
    public void Place_IsReadStrictly(string text, bool isOne)
    {
        Assert.Equal(isOne, RunCursor.TryParse(text, out RunCursor cursor));
        Assert.Equal(isOne ? text : "0.0.0", cursor.ToString());
    }

    private static StageView Stage(string name, string? records, long step, int notes) => new()
    {
        Name = name, Step = step, Steps = 20, Records = records, Panels = [new PanelView(10, "sheet", 20, false)],
        Notes = [.. Enumerable.Range(1, notes).Select(i => new StageNote(i, 0, DateTimeOffset.UnixEpoch, $"note {i}"))],
    };

    private static RunView View(RunPhase phase, params StageView[] stages) => new()
    {
        Run = s_run, Phase = phase, Stages = stages, StageCount = stages.Length,
    };

    private async Task<string> CommitAsync(string? previous, int from, int to)
    {
        byte[] bytes = StepRecord.Write(
            Enumerable.Range(from, to - from).Select(step => new StepRecord(
                step, 1, StepVerdict.Apply, 1.0 / (step + 1), 1, 1e-3, [2 * step, (2 * step) + 1], [])),
            previous);
        string digest = Convert.ToHexStringLower(SHA256.HashData(bytes));
        await _blobs.PutAsync(
            BlobName.OfCluster(BlobKind.Checkpoint, digest), new BlobOwner(BlobOwnerType.Run, "run"), bytes,
            ApiCluster.Cancellation);
        return digest;
    }

    private async Task<ServerSentEvent[]> AllAsync(RunCursor cursor)
    {
        var all = new List<ServerSentEvent>();
        await foreach (ServerSentEvent one in _watch.WatchAsync(s_run, cursor, ApiCluster.Cancellation))
        {
            all.Add(one);
        }

        return [.. all];
    }

    private async Task TurnAsync(Task next)
    {
        await Task.WhenAny(_time.TimersAsync(1), next);
        _time.Advance(TimeSpan.FromSeconds(1));
    }

    public ValueTask DisposeAsync()
    {
        _history.Dispose();
        Directory.Delete(_folder, recursive: true);
        return ValueTask.CompletedTask;
    }
}
#pragma warning restore VSTHRD003

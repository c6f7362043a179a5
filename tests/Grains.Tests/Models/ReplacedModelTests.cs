// Goal: work accepted for a model ends even if the model is replaced, and a model beyond the catalog's limit does not
// stop its worker. Method: clusters with short periods, whose workers hold other models than the store knows.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Models;

public sealed class ReplacedModelTests
{
    private static readonly ModelCard s_newer = FakeDevice.Card(0) with { Digest = FakeDevice.ModelOf(1) };

    [Fact]
    public async Task ReplacedModel_LeavesItsName_AndItsOpenGenerationsEndAsFailed()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, _ => new FakeDevice("d", 2, cards: [s_newer]), Soon);
        Assert.Equal(SubmitOutcome.Accepted, (await SubmitAsync(cluster, "old", FakeDevice.Model)).Outcome);
        await TestCluster.UntilAsync(
            async () => (await cluster.Grains.Catalog().FindAsync(null))!.Digest == s_newer.Digest);

        // The name resolves to the live worker's model; work accepted for the older model ends too.
        Assert.True((await SubmitAsync(cluster, "new", s_newer.Digest)).IsAccepted);
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("new"))[^1].Phase);
        GenerationEvent end = (await cluster.WatchAsync("old"))[^1];
        Assert.Equal((GenerationPhase.Failed, GenerationError.ModelRetired), (end.Phase, end.Error));
        Assert.Contains(s_newer.Digest.Value, end.Message);
        SubmitAnswer late = await SubmitAsync(cluster, "late", FakeDevice.Model);
        Assert.Equal(SubmitOutcome.UnknownModel, late.Outcome);
        Assert.Contains(s_newer.Digest.Value, late.Message);
    }

    [Fact]
    public async Task ModelWithoutAWorker_WhoseNameIsFree_IsWaitedFor()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(
            1, _ => new FakeDevice("d", 2, cards: [FakeDevice.Card(1)]), Soon);
        await SubmitAsync(cluster, "waits", FakeDevice.Model);
        await TestCluster.UntilAsync(async () =>
            await cluster.Grains.Catalog().FindAsync(FakeDevice.Model.Value) is { Unconfirmed.TotalSeconds: > 2 });
        await cluster.Generation("waits").EnsureQueuedAsync(late: true);
        Assert.Equal(GenerationPhase.QueuedEncode, (await cluster.Generation("waits").ViewAsync())!.Phase);
        Assert.True((await SubmitAsync(cluster, "too", FakeDevice.Model)).IsAccepted);
    }

    [Fact]
    public async Task FullCatalog_StopsNoWorker_AndMakesRoomForWhatIsInUse()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        for (int i = 1; i < IModelCatalogGrain.SizeMax; i++)
        {
            Assert.True(await cluster.Grains.Catalog().RegisterAsync(Numbered(i)));
        }

        // Model 0 is known, model 1 exceeds the limit, and model 2 is not a valid model.
        ModelCard[] cards = [FakeDevice.Card(1), FakeDevice.Card(2) with { DecodeCost = 0 }, FakeDevice.Card(0)];
        await using TestCluster later = await TestCluster.StartAsync(
            1, _ => new FakeDevice("d", 2, cards: cards), grains =>
            {
                grains.Models.ConfirmPeriod = TimeSpan.FromMilliseconds(300);
                grains.Models.ConfirmedFor = TimeSpan.FromSeconds(5);
            },
            twin: cluster);
        await SubmitAsync(later, "g", FakeDevice.Model);
        Assert.Equal(GenerationPhase.Done, (await later.WatchAsync("g"))[^1].Phase);
        Assert.Contains(later.Logs, line => line.Contains("model fake1 (b", StringComparison.Ordinal)
            && line.Contains("with 64 models", StringComparison.Ordinal));
        Assert.Contains(later.Logs, line => line.Contains("model fake2 (c", StringComparison.Ordinal));

        // Models that nobody holds or waits for make room.
        await TestCluster.UntilAsync(async () =>
            await later.Grains.Catalog().FindAsync(FakeDevice.ModelOf(1).Value) is not null);
        await SubmitAsync(later, "h", FakeDevice.ModelOf(1));
        Assert.Equal(GenerationPhase.Done, (await later.WatchAsync("h"))[^1].Phase);
    }

    [Fact]
    public async Task ACatalogThatLooksForRoom_AnswersMeanwhile()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null, Soon);
        IModelCatalogGrain catalog = cluster.Grains.Catalog();
        for (int i = 1; i < IModelCatalogGrain.SizeMax; i++)
        {
            Assert.True(await catalog.RegisterAsync(Numbered(i)));
        }

        TaskCompletionSource looks = new(), answer = new();
        cluster.Calling = (method, _, _) =>
        {
            if (method != nameof(IWorkQueueGrain.StatusOfAsync))
            {
                return Task.CompletedTask;
            }

            looks.TrySetResult();
            return answer.Task.WaitAsync(TestContext.Current.CancellationToken);
        };
        cluster.Clock.Pass(TimeSpan.FromSeconds(2));
        Task<bool> registered = catalog.RegisterAsync(Numbered(IModelCatalogGrain.SizeMax));
        await looks.Task.WaitAsync(TestContext.Current.CancellationToken);
        Assert.NotNull(await catalog.FindAsync(Numbered(1).Digest.Value));
        Assert.NotEmpty(await catalog.ListAsync());
        Assert.False(registered.IsCompleted);
        answer.SetResult();
        Assert.False(await registered);
    }

    private static void Soon(GrainsOptions grains)
    {
        grains.OpenSet.WalkPeriod = TimeSpan.FromSeconds(1);
        grains.Models.ConfirmPeriod = TimeSpan.FromMilliseconds(200);
        grains.Models.ConfirmedFor = TimeSpan.FromSeconds(1);
        grains.Models.RetiredPatience = TimeSpan.FromSeconds(2);
    }

    private static ModelCard Numbered(int number) => FakeDevice.Card(0) with
    {
        Digest = new ModelDigest(number.ToString("x64", null)),
        Name = $"old{number}",
        Aliases = [],
        IsDefault = false,
    };

    private static Task<SubmitAnswer> SubmitAsync(TestCluster cluster, string id, ModelDigest model) =>
        cluster.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(1) with { Model = model } });
}

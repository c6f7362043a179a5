// Goal: the list of published models survives its grain, and a withdrawn model stays until its last picture is drawn.
// Method: a cluster with a fake device.
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Grains.Tests.Models;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class PublishedModelsGrainTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AModel_IsStoredBeforeItIsAnswered_AndWorkersPassOnNotifications()
    {
        var follower = new Follower();
        await using TestCluster cluster = await StartAsync(new FakeDevice("cpu", 2), follower);
        await cluster.Grains.Worker("Silo_0/cpu").ModelsChangedAsync();
        await TestCluster.UntilAsync(() => Task.FromResult(follower.Calls == 1));
        IPublishedModelsGrain models = cluster.Grains.PublishedModels();
        PublishedModel model = PublishedModelsTests.Model("one", 3);

        Assert.Equal(PublishOutcome.Published, (await models.PublishAsync(model)).Outcome);
        await TestCluster.DeactivateAsync(models);
        PublishedModel stored = Assert.Single(await models.ListAsync());
        Assert.Equal((model.Digest, model.Owner, model.Origin), (stored.Digest, stored.Owner, stored.Origin));
        Assert.Equal(model.Files, stored.Files);
        Assert.Equal(model.Owner, (await models.PublishAsync(PublishedModelsTests.Model("one", 3))).Model!.Owner);
        Assert.Equal(
            PublishOutcome.NameExists, (await models.PublishAsync(PublishedModelsTests.Model("one", 4))).Outcome);
    }

    [Fact]
    public async Task AWithdrawnModel_DrawsWhatWasAccepted_AndIsThenRemovedWithItsBlobs()
    {
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        ModelCard card = FakeDevice.Card(1);
        var device = new FakeDevice("cpu", 2, cards: [FakeDevice.Card(0), card], memory: 500)
        {
            Decoding = () => letGo.Task,
        };
        await using TestCluster cluster = await StartAsync(device, new Follower());
        IPublishedModelsGrain models = cluster.Grains.PublishedModels();
        PublishedModel model = PublishedModelsTests.Model("fake1", 3) with { Digest = card.Digest };
        var owner = new BlobOwner(BlobOwnerType.Model, model.Owner);
        foreach (PublishedFile file in model.Files)
        {
            await cluster.Blobs.PutAsync(file.Blob, owner, [1], Cancellation);
        }

        await models.PublishAsync(model);
        await TestCluster.UntilAsync(
            async () => await cluster.Grains.Catalog().FindAsync(card.Digest.Value) is not null);
        Assert.True((await cluster.SubmitAsync(
            "g", new Submission { Spec = TestCluster.Spec(1, model: 1) })).IsAccepted);
        await TestCluster.UntilAsync(async () =>
            (await cluster.Generation("g").ViewAsync())!.Phase.IsAfter(GenerationPhase.Denoising));

        Assert.True(await models.WithdrawAsync("fake1"));
        Assert.Null(await models.FindAsync("fake1"));
        await Task.Delay(TimeSpan.FromSeconds(1), Cancellation); // Several of its periods.
        Assert.True(Assert.Single(await models.ListAsync()).IsWithdrawn);
        Assert.All(model.Files, file => Assert.True(cluster.Blobs.Has(file.Blob)));

        letGo.SetResult();
        Assert.Equal(GenerationPhase.Done, (await cluster.WatchAsync("g"))[^1].Phase);
        await TestCluster.UntilAsync(async () => (await models.ListAsync()).Length == 0);
        await TestCluster.UntilAsync(
            () => Task.FromResult(!model.Files.Any(file => cluster.Blobs.Has(file.Blob))));
        Assert.False(await models.WithdrawAsync("fake1"));
    }

    [Fact]
    public async Task AModelThatExpires_IsRemoved_WithItsBlobsAndItsCard()
    {
        ModelCard card = FakeDevice.Card(1);
        await using TestCluster cluster = await StartAsync(new FakeDevice("cpu", 2), new Follower());
        await cluster.Grains.Catalog().RegisterAsync(card);
        IPublishedModelsGrain models = cluster.Grains.PublishedModels();
        PublishedModel model = PublishedModelsTests.Model("fake1", 3) with
        {
            Digest = card.Digest,
            ExpiresAt = cluster.Clock.GetUtcNow().AddSeconds(1),
        };
        foreach (PublishedFile file in model.Files)
        {
            await cluster.Blobs.PutAsync(
                file.Blob, new BlobOwner(BlobOwnerType.Model, model.Owner), [1], Cancellation);
        }

        await models.PublishAsync(model);
        await models.PublishAsync(PublishedModelsTests.Model("kept", 4));
        await TestCluster.UntilAsync(async () => (await models.ListAsync()).Length == 1);
        await TestCluster.UntilAsync(async () =>
            !model.Files.Any(file => cluster.Blobs.Has(file.Blob))
            && await cluster.Grains.Catalog().FindAsync(card.Digest.Value) is null);
        Assert.Equal("kept", Assert.Single(await models.ListAsync()).Name);
    }

    private static Task<TestCluster> StartAsync(FakeDevice device, Follower follower) => TestCluster.StartAsync(
        1, _ => device,
        grains =>
        {
            grains.Models.ConfirmPeriod = TimeSpan.FromMilliseconds(200);
            grains.Models.ConfirmedFor = TimeSpan.FromSeconds(5);
        },
        services: (_, services) => services.AddSingleton<IModelFollower>(follower));

    private sealed class Follower : IModelFollower
    {
        private int _calls;

        public int Calls => Volatile.Read(ref _calls);

        public void Wake() => Interlocked.Increment(ref _calls);
    }
}
#pragma warning restore VSTHRD003

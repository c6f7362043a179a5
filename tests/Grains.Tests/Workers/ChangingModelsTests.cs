// Goal: models that a device offers later are loaded and registered, models that it withdraws are evicted once no work
// needs them, and the others are not affected. Method: the class alone with a fake device; and a whole cluster.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Models;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Workers;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class ChangingModelsTests
{
    private static readonly WorkerKey s_key = new("silo", "d");

    [Fact]
    public async Task AModelAddedLater_IsDrawnWith_AndAWithdrawnOneFinishes_AndIsEvicted()
    {
        var device = new FakeDevice("d", 2, memory: 500);
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => device);
        Assert.Equal(FakeDevice.Undisturbed(TestCluster.Spec(1)), await DrawAsync(cluster, "before", 0));

        device.Offer(FakeDevice.Card(0), FakeDevice.Card(1));
        await TestCluster.UntilAsync(
            async () => await cluster.Grains.Catalog().FindAsync(FakeDevice.ModelOf(1).Value) is not null);
        Assert.Equal(FakeDevice.Undisturbed(TestCluster.Spec(1, model: 1)), await DrawAsync(cluster, "added", 1));
        Assert.Equal(FakeDevice.Undisturbed(TestCluster.Spec(1)), await DrawAsync(cluster, "other", 0));

        // It is withdrawn in the middle of a picture.
        var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var letGo = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        device.Evaluating = _ =>
        {
            begun.TrySetResult();
            return letGo.Task;
        };
        await SubmitAsync(cluster, "late", 1);
        await begun.Task.WaitAsync(TestContext.Current.CancellationToken);
        device.Offer(FakeDevice.Card(0));
        letGo.SetResult();
        await TestCluster.UntilAsync(async () =>
            (await cluster.Generation("late").ViewAsync())!.Phase.IsAfter(GenerationPhase.Denoising));
        await TestCluster.UntilAsync(() => Task.FromResult(!device.Has(FakeDevice.ModelOf(1))));
        Assert.True(device.Has(FakeDevice.ModelOf(0)));
        Assert.Equal(FakeDevice.Undisturbed(TestCluster.Spec(1)), await DrawAsync(cluster, "after", 0));
    }

    [Fact]
    public void TheFirstModel_IsHeldWhateverItsSize_AlsoBesideAnotherOne()
    {
        var device = new FakeDevice("d", 2, memory: 50);
        ModelResidency models = Residency(device);
        Assert.Equal([FakeDevice.ModelOf(0)], models.States().Select(state => state.Model));

        // Neither fits; only the one that the device began with is held all the same.
        device.Offer(FakeDevice.Card(0), FakeDevice.Card(1));
        Assert.Equal([FakeDevice.ModelOf(0)], models.States().Select(state => state.Model));
        device.Offer(FakeDevice.Card(0), FakeDevice.Card(1) with { MemoryBytes = 20 });
        Assert.Equal(
            [FakeDevice.ModelOf(0), FakeDevice.ModelOf(1)], models.States().Select(state => state.Model));
    }

    [Fact]
    public async Task AWithdrawnModel_IsEvicted_WhenNoWorkNeedsIt_AndIsNotLoadedAgain()
    {
        var device = new FakeDevice("d", 2, models: 2, memory: 500);
        ModelResidency models = Residency(device);
        foreach (ModelDigest model in (ModelDigest[])[FakeDevice.ModelOf(0), FakeDevice.ModelOf(1)])
        {
            models.Plan(model, _ => false);
            await models.BeginLoad(_ => false)!();
            models.EndLoad(isAnswered: true);
        }

        device.Offer(FakeDevice.Card(0));
        Assert.Empty(models.Plan(FakeDevice.ModelOf(1), _ => false));
        Assert.Null(models.BeginLoad(model => model == FakeDevice.ModelOf(1)));
        await models.BeginLoad(_ => false)!();
        models.EndLoad(isAnswered: true);
        Assert.Equal((true, false), (device.Has(FakeDevice.ModelOf(0)), device.Has(FakeDevice.ModelOf(1))));
        Assert.Null(models.BeginLoad(_ => false));
        WorkerModel left = Assert.Single(models.States());
        Assert.Equal((FakeDevice.ModelOf(0), ModelPlace.Loaded), (left.Model, left.Place));
        Assert.Equal(FakeDevice.ModelOf(1), models.Latest);
    }

    private static ModelResidency Residency(FakeDevice device) => new(
        s_key, device, null!, new WorkerOptions(), new ModelOptions(), TimeProvider.System,
        new BusyTime(TestInstruments.Workers, TimeProvider.System), NullLogger.Instance);

    private static async Task<byte[]> DrawAsync(TestCluster cluster, string id, int model)
    {
        await SubmitAsync(cluster, id, model);
        GenerationEvent end = (await cluster.WatchAsync(id))[^1];
        Assert.Equal(GenerationPhase.Done, end.Phase);
        return cluster.Blobs[end.Picture!.Value];
    }

    private static async Task SubmitAsync(TestCluster cluster, string id, int model) => Assert.True(
        (await cluster.SubmitAsync(id, new Submission { Spec = TestCluster.Spec(1, model: model) })).IsAccepted);
}
#pragma warning restore VSTHRD003

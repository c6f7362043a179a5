// Goal: grains, queue, worker, device and store together produce the command line's pictures, and keep a picture
// exactly as long as somebody needs it. Method: an in-process cluster of one or three silos over small real networks,
// and a folder.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Hosting;
using Atelier.Grains.Ports;
using Atelier.Grains.Workers;
using Atelier.Silo.Blobs;
using Atelier.Silo.Devices;
using Atelier.Silo.Tests.Devices;
using Microsoft.Extensions.DependencyInjection;
using Orleans.TestingHost;
using Xunit;

namespace Atelier.Silo.Tests.Cluster;

public sealed class PicturesTests : IDisposable
{
    private static readonly TenantId s_tenant = new("tenant");
    private readonly string _folder = Directory.CreateTempSubdirectory("pictures").FullName;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task PicturesOfACluster_AreTheCommandLines_OfTwoModelsAndInBatches()
    {
        await using InProcessTestCluster cluster = await StartAsync(_ => WorkRoles.All, silos: 1);
        GenerationSpec one = TinyModels.Spec(TinyModels.First), two = TinyModels.Spec(TinyModels.Second);
        (DeviceModel Model, GenerationSpec Spec)[] pictures =
        [
            (TinyModels.First, one), (TinyModels.First, one with { Seed = 6, Steps = 5, Negative = "" }),
            (TinyModels.Second, two), (TinyModels.First, one with { Prompt = "blue", Guidance = 1 }),
            (TinyModels.First, one),
        ];
        GenerationEvent[][] events = await Task.WhenAll(
            pictures.Select((picture, i) => DrawAsync(cluster, $"g{i}", picture.Spec, previews: i == 0 ? 1 : 0)));
        FolderBlobStore store = Store();
        for (int i = 0; i < pictures.Length; i++)
        {
            Assert.Equal(GenerationPhase.Done, events[i][^1].Phase);
            byte[]? file = await store.GetAsync(events[i][^1].Picture!.Value, Cancellation);
            Assert.Equal(TinyModels.Expected(pictures[i].Model, pictures[i].Spec), file);
        }

        // The first and the last are equal: deleting one keeps the other's picture.
        BlobName shared = events[0][^1].Picture!.Value;
        Assert.Equal(shared, events[^1][^1].Picture!.Value);
        GenerationEvent preview = Assert.Single(events[0], e => e.Preview is not null);
        Assert.NotNull(await store.GetAsync(preview.Preview!.Value, Cancellation));
        await Generation(cluster, "g0").DeleteAsync();
        Assert.NotNull(await store.GetAsync(shared, Cancellation));
        await Generation(cluster, $"g{pictures.Length - 1}").DeleteAsync();
        Assert.Null(await store.GetAsync(shared, Cancellation));
    }

    [Fact]
    public async Task EncodingDenoisingAndDecoding_OnThreeSilos_GiveTheSamePicture()
    {
        WorkRoles[] roles = [WorkRoles.Encode, WorkRoles.Denoise, WorkRoles.Decode];
        await using InProcessTestCluster cluster = await StartAsync(i => roles[i], silos: 3);
        GenerationSpec spec = TinyModels.Spec(TinyModels.First);
        GenerationEvent[] events = await DrawAsync(cluster, "one", spec, previews: 0);
        byte[]? file = await Store().GetAsync(events[^1].Picture!.Value, Cancellation);
        Assert.Equal(TinyModels.Expected(TinyModels.First, spec), file);
    }

    private static IGenerationGrain Generation(InProcessTestCluster cluster, string id) =>
        cluster.Client.GetGrain<IGenerationGrain>(new GenerationKey(s_tenant, new GenerationId(id)).ToString());

    private static async Task<GenerationEvent[]> DrawAsync(
        InProcessTestCluster cluster, string id, GenerationSpec spec, int previews)
    {
        IGenerationGrain generation = Generation(cluster, id);
        SubmitAnswer answer = await generation.SubmitAsync(new Submission { Spec = spec, Previews = previews });
        Assert.True(answer.Outcome == SubmitOutcome.Accepted, $"{answer.Outcome}: {answer.Message}");
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        patience.CancelAfter(TimeSpan.FromSeconds(60));
        List<GenerationEvent> events = [];
        await foreach (GenerationEvent one in generation.WatchAsync(EventNumber.Before, patience.Token))
        {
            events.Add(one);
        }

        return [.. events];
    }

    private FolderBlobStore Store() => new(new FolderBlobStoreOptions { Folder = _folder }, TimeProvider.System);

    private async Task<InProcessTestCluster> StartAsync(Func<int, WorkRoles> roles, short silos)
    {
        var builder = new InProcessTestClusterBuilder(silos);
        int count = -1;
        builder.ConfigureSilo((_, silo) =>
        {
            var device = new TorchDeviceOptions { Roles = roles(Interlocked.Increment(ref count)), Slots = 4 };
            silo.AddMemoryStorage();
            silo.UseInMemoryReminderService();
            silo.AddAtelierGrains();
            silo.Configure<WorkerOptions>(worker => worker.OnFault = error => Assert.Fail(error.ToString()));
            silo.Services.AddSingleton<IBlobStore>(Store());
            silo.Services.AddSingleton(
                services => DeviceLane.Of(device, services.GetRequiredService<TimeProvider>()));
            silo.Services.AddSingleton<IDeviceHost>(
                services => new TorchDeviceHost(
                    [TinyModels.First, TinyModels.Second], device, services.GetRequiredService<DeviceLane>()));
        });
        InProcessTestCluster cluster = builder.Build();
        await cluster.DeployAsync();
        TenantAnswer tenant = await cluster.Client.GetGrain<ITenantGrain>(s_tenant.Value)
            .PutAsync(new TenantSettings { RequestsPerMinute = 100_000 });
        Assert.NotNull(tenant.View);
        IModelCatalogGrain catalog = cluster.Client.GetGrain<IModelCatalogGrain>(0);
        Assert.True(await catalog.RegisterAsync(TinyModels.First.Card));
        Assert.True(await catalog.RegisterAsync(TinyModels.Second.Card));
        return cluster;
    }
}

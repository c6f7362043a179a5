// Goal: nobody accidentally changes what is stored, and what is stored can be read back. Method: all serialized types
// of the grains are listed with their ids and compared with a checked-in text; ATELIER_ACCEPT=1 rewrites it.
using System.Reflection;
using System.Runtime.CompilerServices;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Training;
using Atelier.Contracts.Workers;
using Atelier.Grains.Generations;
using Atelier.Grains.Training;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class StoredStateTests
{
    private static readonly Type[] s_types =
    [
        .. typeof(GenerationState).Assembly.GetTypes().Where(type =>
            type.GetCustomAttribute<GenerateSerializerAttribute>() is not null
            && type.Namespace!.StartsWith("Atelier.Grains", StringComparison.Ordinal)
                && !type.IsAssignableTo(typeof(Exception))),
    ];

    private static readonly Type[] s_grains =
        [.. typeof(GenerationState).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(Grain)))];

    [Fact]
    public void StoredStates_AreThoseThatWereApproved()
    {
        string[] now = [.. Lines().Order(StringComparer.Ordinal)];
        if (Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1")
        {
            File.WriteAllLines(Approved(), now);
        }

        Assert.Equal(File.ReadAllLines(Approved()), now);
    }

    [Fact]
    public void StoredStates_NameThemselvesAndNumberTheirMembers()
    {
        Assert.NotEmpty(s_types);
        Assert.All(s_types, type => Assert.NotNull(type.GetCustomAttribute<AliasAttribute>(inherit: false)));
        Assert.All(s_types.SelectMany(Stored), property => Assert.NotNull(property.GetCustomAttribute<IdAttribute>()));
    }

    // A renamed grain would look for its state under another key, and what is stored would be lost.
    [Fact]
    public async Task GrainTypes_AreThoseUnderWhichStatesAreStored()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        IGrainFactory grains = cluster.Grains;
        IAddressable[] all =
        [
            grains.GetGrain<IGenerationGrain>("k"), grains.GetGrain<ISessionGrain>("k"),
            grains.GetGrain<ISessionPageGrain>("k"),
            grains.GetGrain<ISessionListGrain>("k"),
            grains.GetGrain<ITenantGrain>("k"), grains.GetGrain<ITenantListGrain>(1), grains.GetGrain<IOpenSetGrain>(1),
            grains.GetGrain<IEndedListGrain>("k"), grains.GetGrain<IModelCatalogGrain>(1),
            grains.GetGrain<IRecentRequestsGrain>("k"),
            grains.GetGrain<IWorkQueueGrain>("k"), grains.GetGrain<IWorkerGrain>("k"),
            grains.GetGrain<IClusterGrain>(1),
            grains.GetGrain<IOpenSetLayoutGrain>(1), grains.GetGrain<ITrainingRunGrain>("k"),
            grains.GetGrain<ITrainingBoardGrain>(1), grains.GetGrain<ITrainingStageGrain>("k"),
            grains.GetGrain<ITrainerGrain>("k"), grains.GetGrain<IPublishedModelsGrain>(1),
            grains.GetGrain<IDevicePoolGrain>(1), grains.GetGrain<ITrainingPanelGrain>("k"),
            grains.GetGrain<IPoolGrain>("k"),
        ];
        Assert.Equal(
            [
                "generation/k", "session/k", "sessionpage/k", "sessionlist/k",
                "tenant/k", "tenantlist/1", "openset/1", "endedlist/k",
                "modelcatalogue/1", "recentrequests/k", "workqueue/k", "worker/k", "cluster/1",
                "opensetlayout/1", "trainingrun/k", "trainingboard/1", "trainingstage/k", "trainer/k",
                "publishedmodels/1", "devicepool/1", "trainingpanel/k", "pool/k",
            ],
            all.Select(grain => grain.GetGrainId().ToString()));
        Assert.Equal(all.Length, s_grains.Length);
        Assert.All(s_grains, type => Assert.NotNull(type.GetCustomAttribute<GrainTypeAttribute>()));
    }

    private static IEnumerable<string> Lines() => Members().Concat(States());

    // The names under which grains store their states.
    private static IEnumerable<string> States() =>
        from type in s_grains
        from parameter in type.GetConstructors().Single().GetParameters()
        where parameter.GetCustomAttribute<PersistentStateAttribute>() is not null
        let name = parameter.GetCustomAttribute<PersistentStateAttribute>()!.StateName
        let state = parameter.ParameterType.GetGenericArguments().Single()
        let grain = type.GetCustomAttribute<GrainTypeAttribute>()!.GetGrainType(null!, type)
        select $"{grain}/{name} {state.GetCustomAttribute<AliasAttribute>(inherit: false)!.Alias}";

    private static IEnumerable<string> Members() =>
        from type in s_types
        from property in Stored(type)
        let alias = type.GetCustomAttribute<AliasAttribute>(inherit: false)!.Alias
        select $"{alias}#{property.GetCustomAttribute<IdAttribute>()!.Id} {property.Name} {property.PropertyType.Name}";

    private static IEnumerable<PropertyInfo> Stored(Type type) =>
        type.IsEnum ? [] : type.GetProperties().Where(property => property.SetMethod is not null);

    private static string Approved([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "StoredStates.txt");
}

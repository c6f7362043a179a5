// Goal: nobody accidentally changes what is stored, or what the silos of two releases send each other. Method: all
// serialized types and interfaces of the grains, and the JSON of training, are listed and compared with a checked-in
// text, which ATELIER_ACCEPT=1 rewrites, and with that of the release before.
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Scaling;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Tests;
using Atelier.Contracts.Training;
using Atelier.Contracts.Workers;
using Atelier.Grains.Generations;
using Atelier.Grains.Hosting;
using Atelier.Grains.Ports;
using Atelier.Grains.Training;
using Atelier.Training.Checkpoints;
using Orleans.CodeGeneration;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class StoredStateTests
{
    private static readonly Type[] s_types =
    [
        .. ContractList.Types(typeof(GenerationState).Assembly).Where(type =>
            ContractList.IsMessage(type) && !type.IsAssignableTo(typeof(Exception))),
    ];

    private static readonly Type[] s_interfaces =
        [.. ContractList.Types(typeof(GenerationState).Assembly).Where(ContractList.IsGrain)];

    // What training stores and sends as JSON.
    private static readonly Type[] s_json =
    [
        typeof(StageRecord), typeof(StagePlan), typeof(StageReport), typeof(StageAnswer), typeof(CheckpointManifest),
        typeof(DrawnPanel),
    ];

    private static readonly Type[] s_grains =
        [.. typeof(GenerationState).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(Grain)))];

    [Fact]
    public void StoredStates_AreThoseThatWereApproved() =>
        ContractList.AreApproved(Lines(), ContractList.Beside("StoredStates.txt"));

    [Fact]
    public void StoredStates_AreUnderstoodByTheReleaseBefore() => ContractList.AreCompatible(
        Lines(), ContractList.Beside("StoredStates.Released.txt"), "atelier.ITrainerGrain",
        "atelier.ITrainingPanelGrain");

    [Fact]
    public void GrainInterfaces_NameThemselvesAndTheirMethods()
    {
        Assert.NotEmpty(s_interfaces);
        Assert.All(s_interfaces, type => Assert.NotNull(type.GetCustomAttribute<AliasAttribute>()));
        Assert.All(
            s_interfaces.SelectMany(ContractList.Methods),
            method => Assert.NotNull(method.GetCustomAttribute<AliasAttribute>()));
    }

    [Fact]
    public void StoredStates_NameThemselvesAndNumberTheirMembers()
    {
        Assert.NotEmpty(s_types);
        Assert.All(s_types, type => Assert.NotNull(type.GetCustomAttribute<AliasAttribute>(inherit: false)));
        Assert.All(
            s_types.SelectMany(ContractList.Stored),
            property => Assert.NotNull(property.GetCustomAttribute<IdAttribute>()));
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

    // Orleans moves a grain to a silo of a later version only by a call that its silo can read.
    [Fact]
    public async Task GrainsOfInterfacesWithAVersion_AreMoved()
    {
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => null);
        IGrainFactory grains = cluster.Grains;
        IAddressable[] moved =
        [
            grains.WorkQueue(), grains.Catalog(), grains.GetGrain<ITrainingBoardGrain>(0),
            grains.GetGrain<ITrainingRunGrain>("k"), grains.GetGrain<ITrainingStageGrain>("k/0"),
        ];
        foreach (IAddressable grain in moved)
        {
            Assert.True(await EarlierSilos.MoveAsync(grain), $"{grain} is not moved.");
        }

        Assert.All(
            s_interfaces.Concat(typeof(GenerationSpec).Assembly.GetExportedTypes().Where(ContractList.IsGrain))
                .Where(type => type.IsDefined(typeof(VersionAttribute))),
            type => Assert.Contains(moved, type.IsInstanceOfType));
    }

    private static IEnumerable<string> Lines() =>
        ContractList.Lines([.. s_types, .. s_interfaces]).Concat(States()).Concat(Json());

    // The names under which grains store their states.
    private static IEnumerable<string> States() =>
        from type in s_grains
        from parameter in type.GetConstructors().Single().GetParameters()
        where parameter.GetCustomAttribute<PersistentStateAttribute>() is not null
        let name = parameter.GetCustomAttribute<PersistentStateAttribute>()!.StateName
        let state = parameter.ParameterType.GetGenericArguments().Single()
        let grain = type.GetCustomAttribute<GrainTypeAttribute>()!.GetGrainType(null!, type)
        select $"{grain}/{name} {state.GetCustomAttribute<AliasAttribute>(inherit: false)!.Alias}";

    // The members of the JSON, with the values that they have where they are missing.
    private static IEnumerable<string> Json()
    {
        var resolver = new DefaultJsonTypeInfoResolver
        {
            Modifiers =
            {
                info => info.Properties.ToList().ForEach(property => property.IsRequired = false),
            },
        };
        var options = new JsonSerializerOptions(TrainingJson.Options) { TypeInfoResolver = resolver };
        var known = new HashSet<Type>();
        var waiting = new Queue<Type>(s_json);
        while (waiting.TryDequeue(out Type? type))
        {
            JsonTypeInfo info = options.GetTypeInfo(type);
            foreach (Type inner in type.GetGenericArguments().Append(info.ElementType).OfType<Type>())
            {
                waiting.Enqueue(inner);
            }

            bool isObject = info.Kind == JsonTypeInfoKind.Object && Nullable.GetUnderlyingType(type) is null;
            if (!isObject || !known.Add(type))
            {
                continue;
            }

            object empty = JsonSerializer.Deserialize("{}", info)!;
            foreach (JsonPropertyInfo property in info.Properties.Where(one => one.Set is not null
                || one.AssociatedParameter is not null))
            {
                waiting.Enqueue(property.PropertyType);
                string standard = ContractList.Standard(empty, (PropertyInfo)property.AttributeProvider!);
                string value = $"{ContractList.Readable(property.PropertyType)}{standard}";
                yield return $"json.{type.Name}#{property.Name} {value}";
            }
        }
    }
}

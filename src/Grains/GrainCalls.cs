// References to grains by key, and the classification of failed calls whose outcome is unknown and which can be
// retried.
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.Grains.Telemetry;
using Orleans.Storage;

namespace Atelier.Grains;

/// <summary>Gets references to grains by their keys.</summary>
public static class GrainFactoryExtensions
{
    /// <summary>The grain of a generation.</summary>
    public static IGenerationGrain Generation(this IGrainFactory grains, GenerationKey key) =>
        grains.GetGrain<IGenerationGrain>(key.ToString());

    /// <summary>The grain of a session.</summary>
    public static ISessionGrain Session(this IGrainFactory grains, SessionKey key) =>
        grains.GetGrain<ISessionGrain>(key.ToString());

    /// <summary>The grain of a tenant.</summary>
    public static ITenantGrain Tenant(this IGrainFactory grains, TenantId tenant) =>
        grains.GetGrain<ITenantGrain>(tenant.Value);

    /// <summary>The grain of the cluster's queue.</summary>
    public static IWorkQueueGrain WorkQueue(this IGrainFactory grains) =>
        grains.GetGrain<IWorkQueueGrain>(IWorkQueueGrain.Key);

    /// <summary>The grain of the cluster's catalog of models.</summary>
    public static IModelCatalogGrain Catalog(this IGrainFactory grains) => grains.GetGrain<IModelCatalogGrain>(0);

    /// <summary>The grain of the cluster's published models.</summary>
    public static IPublishedModelsGrain PublishedModels(this IGrainFactory grains) =>
        grains.GetGrain<IPublishedModelsGrain>(0);

    /// <summary>The cluster, as any of its silos sees it.</summary>
    public static IClusterGrain Cluster(this IGrainFactory grains) => grains.GetGrain<IClusterGrain>(0);

    /// <summary>The grain of a worker, by its name.</summary>
    public static IWorkerGrain Worker(this IGrainFactory grains, string worker) =>
        grains.GetGrain<IWorkerGrain>(worker);
}

/// <summary>Classifies failed calls and makes calls that may fail.</summary>
public static class GrainCalls
{
    private static readonly Counter<long> s_unanswered = new Meter("Atelier.Grains").CreateCounter<long>(
        "atelier.call.unanswered", "{call}", "Failed calls whose effect something else restores, by caller.");

    /// <summary>Whether the outcome of a failed call is unknown and the call can be retried.</summary>
    public static bool IsTransient(Exception error) =>
        error is TimeoutException or OrleansException or InconsistentStateException or OperationCanceledException
            or IOException;

    /// <summary>
    /// Whether a watch broke, as when its grain moves or its silo dies. A new watch resumes after the last event.
    /// </summary>
    public static bool IsBrokenWatch(Exception error) =>
        error is EnumerationAbortedException or NotSupportedException || IsTransient(error);

    /// <summary>
    /// Makes a call whose failure does no harm, because something else, such as a later walk, restores its effect.
    /// Returns null if the call failed. Failures are counted by calling method.
    /// </summary>
    public static async Task<T?> TryAsync<T>(Func<Task<T>> call, [CallerMemberName] string caller = "")
    {
        try
        {
            return await call();
        }
        catch (Exception error) when (IsTransient(error))
        {
            Count(error, caller);
            return default;
        }
    }

    /// <summary>
    /// Makes a call whose failure does no harm, because something else, such as a later walk, restores its effect.
    /// Returns false if the call failed. Failures are counted by calling method.
    /// </summary>
    public static async Task<bool> TryAsync(Func<Task> call, [CallerMemberName] string caller = "")
    {
        try
        {
            await call();
            return true;
        }
        catch (Exception error) when (IsTransient(error))
        {
            Count(error, caller);
            return false;
        }
    }

    /// <summary>Counts a failed call by its caller.</summary>
    internal static void Count(Exception error, string caller) => s_unanswered.Add(
        1, new(LabelNames.Caller, caller), new(LabelNames.ErrorType, error.GetType().Name));
}

// The owners of blobs, which are asked whether they still need a blob. There is a question for each type of owner that
// can be asked.
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Blobs;

/// <summary>Asks an owner whether it needs a blob.</summary>
/// <param name="blob">The blob.</param>
/// <param name="id">The owner's id.</param>
/// <returns>False only if the owner certainly does not need the blob. An exception leaves the question open.</returns>
public delegate Task<bool> AskOwner(BlobName blob, string id);

/// <summary>The owners that can be asked.</summary>
/// <param name="asks">
/// The question for each type of owner. A blob that an owner of another type holds is never swept.
/// </param>
/// <param name="limits">Limits the number of log events, since a sweep asks about every blob.</param>
/// <param name="logger">The log, which records why an owner did not answer.</param>
public sealed class BlobOwners(
    IReadOnlyDictionary<BlobOwnerType, AskOwner> asks, LogLimits limits, ILogger<BlobOwners> logger)
{
    /// <summary>Creates the questions for the owners that are grains.</summary>
    public static BlobOwners Of(IGrainFactory grains, LogLimits limits, ILogger<BlobOwners> logger)
    {
        var asks = new Dictionary<BlobOwnerType, AskOwner>
        {
            [BlobOwnerType.Generation] = (blob, id) => blob.Tenant is { } tenant
                ? grains.Generation(new GenerationKey(tenant, new GenerationId(id))).MayNeedAsync(blob)
                : Task.FromResult(true),
            [BlobOwnerType.Run] = (blob, id) => grains.GetGrain<ITrainingRunGrain>(id).MayNeedAsync(blob),
            [BlobOwnerType.DataSet] = async (_, id) =>
            {
                RunSummary[] runs = await grains.GetGrain<ITrainingBoardGrain>(0).ListOpenAsync();
                bool[] needs = await Task.WhenAll(runs.Select(
                    run => grains.GetGrain<ITrainingRunGrain>(run.Run.Value).NamesDataAsync(id)));
                return needs.Contains(true);
            },
            [BlobOwnerType.Model] = (blob, id) => grains.PublishedModels().MayNeedAsync(id, blob),
        };
        return new BlobOwners(asks, limits, logger);
    }

    /// <summary>Whether an owner may need a blob; null if it did not answer.</summary>
    public async Task<bool?> MayNeedAsync(BlobName blob, BlobOwner? owner)
    {
        if (owner is not { } one || !asks.TryGetValue(one.Type, out AskOwner? ask))
        {
            return true;
        }

        try
        {
            return await ask(blob, one.Id);
        }
        catch (Exception error) when (error is not OutOfMemoryException)
        {
            // Not only transient errors are caught: a silo of an earlier release does not have the method.
            GrainCalls.Count(error, nameof(MayNeedAsync));
            if (limits.Passes(nameof(BlobLog.OwnerUnanswered), error.GetType().Name, out int count))
            {
                logger.OwnerUnanswered(count, one.ToString(), blob, error);
            }

            return null;
        }
    }
}

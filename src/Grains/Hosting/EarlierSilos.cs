// Calls of methods that silos of the release before do not know. Such a silo cannot even read the call, so Orleans'
// check of the interface's version does not move the grain. A call that the silo can read does: it has the version of
// this release, too.
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Training;
using Atelier.Grains.Training;

namespace Atelier.Grains.Hosting;

/// <summary>Moves a grain to a silo of this release if the silo that it is on cannot read a call.</summary>
internal sealed class EarlierSilos : IOutgoingGrainCallFilter
{
    public async Task Invoke(IOutgoingGrainCallContext context)
    {
        try
        {
            await context.Invoke();
        }
        catch (TypeLoadException error)
        {
            if (!await MoveAsync(context.Grain))
            {
                throw;
            }

            throw new OrleansException(
                $"{context.TargetId} was on a silo of the release before, and has moved; call again.", error);
        }
    }

    /// <summary>
    /// Calls a grain of an interface with a version, by a method that the release before knows and that changes
    /// nothing. Returns false for other grains.
    /// </summary>
    public static async Task<bool> MoveAsync(object grain)
    {
        switch (grain)
        {
            case ITrainingBoardGrain board:
                await board.EarlierListAsync();
                return true;
            case ITrainingRunGrain run:
                await run.CurrentAsync();
                return true;
            case ITrainingStageGrain stage:
                await stage.PlanJsonAsync();
                return true;
            case IModelCatalogGrain catalog:
                await catalog.ListAsync();
                return true;
            case IWorkQueueGrain queue:
                await queue.StatusAsync();
                return true;
            default:
                return false;
        }
    }
}

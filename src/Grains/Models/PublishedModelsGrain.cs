// The cluster's published models, stored before silos are notified. Silos follow the list: they fetch the files, and
// register the models in the catalog as the workers do with those of folders.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Workers;
using Atelier.Grains.Placement;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Models;

/// <summary>Keeps the list of published models, and the blobs of withdrawn ones until no work needs them.</summary>
[GrainType("publishedmodels")]
[ControlSilo]
internal sealed class PublishedModelsGrain(
    [PersistentState("models")] IPersistentState<PublishedModelsState> state, IOptions<ModelOptions> options,
    IBlobStore blobs, TimeProvider clock, IGrainFactory grains, ILogger<PublishedModelsGrain> logger)
    : Grain, IPublishedModelsGrain
{
    private readonly long _startedAt = clock.GetTimestamp();
    private readonly IdleModels _idle = new(grains, options.Value.ConfirmPeriod / 2);
    private PublishedModels _models = null!;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _models = new PublishedModels(state.State);
        this.RegisterGrainTimer(RemoveWithdrawnAsync, options.Value.ConfirmPeriod, options.Value.ConfirmPeriod);
        return Task.CompletedTask;
    }

    public async Task<PublishAnswer> PublishAsync(PublishedModel model)
    {
        (PublishAnswer answer, PublishedModel? replaced) = _models.Publish(model);
        bool isNew = ReferenceEquals(answer.Model, model);
        if (isNew || (answer.Outcome == PublishOutcome.Published && model.ExpiresAt is not null))
        {
            await state.WriteOrDeactivateAsync(this);
        }

        if (isNew)
        {
            logger.ModelPublished(model.Name, model.Digest, model.Origin.Run, model.Origin.Stage, model.Origin.Step);
            NotifyAsync().Ignore();
            await ReleaseAsync(replaced);
        }

        return answer;
    }

    public Task<PublishedModel?> FindAsync(string name) => Task.FromResult(_models.Find(name));

    public Task<PublishedModel[]> ListAsync() => Task.FromResult(state.State.Models.ToArray());

    public async Task<bool> WithdrawAsync(string name)
    {
        if (_models.Withdraw(name) is not { } isChanged)
        {
            return false;
        }

        if (isChanged)
        {
            await state.WriteOrDeactivateAsync(this);
            logger.ModelWithdrawn(name);
        }

        return true;
    }

    public async Task<bool> MayNeedAsync(string owner, BlobName blob)
    {
        if (_models.Needs(owner, blob))
        {
            return true;
        }

        // This activation may be stale.
        await state.RereadOrDeactivateAsync(this);
        _models = new PublishedModels(state.State);
        return _models.Needs(owner, blob);
    }

    private async Task RemoveWithdrawnAsync(CancellationToken cancellation)
    {
        foreach (PublishedModel model in _models.Expired(clock.GetUtcNow()).ToArray())
        {
            await WithdrawAsync(model.Name);
        }

        foreach (PublishedModel model in _models.Withdrawn.ToArray())
        {
            if (await _idle.IsIdleAsync(model.Digest, clock.GetElapsedTime(_startedAt)))
            {
                _models.Remove(model);
                await state.WriteOrDeactivateAsync(this);
                NotifyAsync().Ignore();
                await ReleaseAsync(model);
                await GrainCalls.TryAsync(() => grains.Catalog().RemoveAsync(model.Digest));
            }
        }
    }

    // A release that fails leaves a blob that the next sweep removes, since nothing needs it anymore.
    private async Task ReleaseAsync(PublishedModel? model)
    {
        foreach (PublishedFile file in model?.Files ?? [])
        {
            await GrainCalls.TryAsync(() => blobs.ReleaseAsync(
                file.Blob, new BlobOwner(BlobOwnerType.Model, model!.Owner), CancellationToken.None));
        }
    }

    // A silo that is not notified looks at the list within ConfirmPeriod.
    private async Task NotifyAsync()
    {
        WorkerStatus[] workers = await GrainCalls.TryAsync(() => grains.Cluster().WorkersAsync()) ?? [];
        foreach (WorkerStatus worker in workers)
        {
            grains.Worker(worker.Key.ToString()).ModelsChangedAsync().Ignore();
        }
    }
}

// The models of the cluster, as the workers that can hold them describe them.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Hosting;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Models;

/// <summary>Names for digests, and what a picture costs.</summary>
[GrainType("modelcatalogue")]
[ControlSilo]
internal sealed class ModelCatalogGrain(
    [PersistentState("catalogue")] IPersistentState<ModelCatalogState> state, GrainsOptions options,
    TimeProvider clock, IGrainFactory grains, ILogger<ModelCatalogGrain> logger) : Grain, IModelCatalogGrain
{
    private readonly long _startedAt = clock.GetTimestamp();
    private readonly Dictionary<ModelDigest, TimeSpan> _idleSince = [];
    private ModelCatalog _catalog = null!;

    private TimeSpan Now => clock.GetElapsedTime(_startedAt);

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _catalog = new ModelCatalog(state.State, options.Models);
        return Task.CompletedTask;
    }

    public async Task<bool> RegisterAsync(ModelCard card)
    {
        if (card.Fault() is { } fault)
        {
            throw new ArgumentException(fault, nameof(card));
        }

        Registration registration = _catalog.Register(card, Now);
        if (registration == Registration.Full && await FindLeaverAsync() is { } leaver)
        {
            logger.ModelDropped(leaver, card.Name, card.Digest);
            _catalog.Drop(leaver);
            registration = _catalog.Register(card, Now);
        }

        if (registration == Registration.Changed)
        {
            await StoreAsync();
        }

        return registration != Registration.Full;
    }

    public Task<ModelCard[]> ListAsync() => Task.FromResult(_catalog.List(Now));

    public Task<ModelCard?> FindAsync(string? name) => Task.FromResult(_catalog.Find(name, Now));

    // Whose place a new model may take: a retired one's, or that of one that nobody holds and nobody waits for. A queue
    // that has just started has not heard of its work yet, so it must be empty at two attempts, some time apart.
    private async Task<ModelDigest?> FindLeaverAsync()
    {
        if (_catalog.Retired(Now).Select(model => (ModelDigest?)model).FirstOrDefault() is { } retired)
        {
            return retired;
        }

        foreach (ModelDigest model in _catalog.Unconfirmed(Now).ToArray())
        {
            QueueStatus? status = await GrainCalls.TryAsync(() => grains.WorkQueue().StatusOfAsync(model));
            if (status is not { Waiting: 0, Leased: 0 })
            {
                _idleSince.Remove(model);
            }
            else if (!_idleSince.TryAdd(model, Now) && Now - _idleSince[model] >= options.Worker.ConfirmPeriod / 2)
            {
                return _idleSince.Remove(model) ? model : null;
            }
        }

        return null;
    }

    private async Task StoreAsync()
    {
        try
        {
            await state.WriteStateAsync();
        }
        catch (Exception)
        {
            DeactivateOnIdle();
            throw;
        }
    }
}

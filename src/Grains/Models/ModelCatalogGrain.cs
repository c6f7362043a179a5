// The cluster's catalog of models, as registered by the workers that can load them.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Placement;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.Models;

/// <summary>Finds models by name and replaces retired ones when the catalog is full.</summary>
[GrainType("modelcatalogue")]
[ControlSilo]
internal sealed class ModelCatalogGrain(
    [PersistentState("catalogue")] IPersistentState<ModelCatalogState> state, IOptions<ModelOptions> options,
    TimeProvider clock, IGrainFactory grains, ILogger<ModelCatalogGrain> logger) : Grain, IModelCatalogGrain
{
    private readonly long _startedAt = clock.GetTimestamp();
    private readonly Dictionary<ModelDigest, TimeSpan> _idleSince = [];
    private ModelCatalog _catalog = null!;

    private TimeSpan Now => clock.GetElapsedTime(_startedAt);

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _catalog = new ModelCatalog(state.State, options.Value);
        return Task.CompletedTask;
    }

    public async Task<bool> RegisterAsync(ModelCard card)
    {
        if (card.Fault() is { } fault)
        {
            throw new ArgumentException(fault, nameof(card));
        }

        Registration registration = _catalog.Register(card, Now);
        if (registration == Registration.Full && await FindReplaceableAsync() is { } leaver)
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

    // A model that a new one may replace: a retired one, or one that no worker holds and no work needs. A queue that
    // has just started does not know all work yet, so it must have no work for the model at two attempts, some time
    // apart.
    private async Task<ModelDigest?> FindReplaceableAsync()
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
            else if (!_idleSince.TryAdd(model, Now) && Now - _idleSince[model] >= options.Value.ConfirmPeriod / 2)
            {
                return _idleSince.Remove(model) ? model : null;
            }
        }

        return null;
    }

    private Task StoreAsync() => state.WriteOrDeactivateAsync(this);
}

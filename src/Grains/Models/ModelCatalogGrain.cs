// The cluster's catalog of models, as registered by the workers that can load them.
using Atelier.Contracts;
using Atelier.Contracts.Models;
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
    private readonly IdleModels _idle = new(grains, options.Value.ConfirmPeriod / 2);
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

    public async Task RemoveAsync(ModelDigest model)
    {
        if (_catalog.Drop(model))
        {
            await StoreAsync();
        }
    }

    public Task<ModelCard[]> ListAsync() => Task.FromResult(_catalog.List(Now));

    public Task<ModelCard?> FindAsync(string? name) => Task.FromResult(_catalog.Find(name, Now));

    // A model that a new one may replace: a retired one, or one that no worker holds and no work needs.
    private async Task<ModelDigest?> FindReplaceableAsync()
    {
        if (_catalog.Retired(Now).Select(model => (ModelDigest?)model).FirstOrDefault() is { } retired)
        {
            return retired;
        }

        foreach (ModelDigest model in _catalog.Unconfirmed(Now).ToArray())
        {
            if (await _idle.IsIdleAsync(model, Now))
            {
                return model;
            }
        }

        return null;
    }

    private Task StoreAsync() => state.WriteOrDeactivateAsync(this);
}

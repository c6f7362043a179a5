using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Training;
using Atelier.Grains;
using Atelier.Grains.Training;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Models;

/// <summary>
/// Looks up models in the catalog. The catalog keeps the card of a published model until nothing needs it; a model that
/// was withdrawn takes no new requests before that.
/// </summary>
internal sealed class ModelResolver(IGrainFactory grains, GrainCaller calls)
{
    /// <summary>All models, the default one first.</summary>
    public async Task<ModelCard[]> ListAsync()
    {
        ModelCard[] cards = await calls.CallAsync(() => grains.Catalog().ListAsync());
        if (Array.TrueForAll(cards, card => card.Origin is null))
        {
            return cards;
        }

        HashSet<ModelDigest> published =
        [
            .. (await calls.CallAsync(() => grains.PublishedModels().ListAsync()))
                .Where(model => model is { IsWithdrawn: false, ExpiresAt: null }).Select(model => model.Digest),
        ];
        return [.. cards.Where(card => card.Origin is null || published.Contains(card.Digest))];
    }

    /// <summary>Finds a model by name, alias or digest; null means the default model.</summary>
    /// <exception cref="ApiException">There is no such model, or no worker has registered any model yet.</exception>
    public async Task<ModelCard> FindAsync(string? name) => await TryFindAsync(name)
        ?? throw new ApiException(name is null ? NoModels : ApiError.UnknownModel(name));

    /// <summary>Finds a model as <see cref="FindAsync"/> does; null if there is none.</summary>
    public async Task<ModelCard?> TryFindAsync(string? name)
    {
        ModelCard? card = await calls.CallAsync(() => grains.Catalog().FindAsync(name));
        return card is null or { Origin: null }
            || (await calls.CallAsync(() => grains.PublishedModels().FindAsync(card.Name))) is { ExpiresAt: null } known
                && known.Digest == card.Digest
            ? card : null;
    }

    /// <summary>
    /// Whether a checkpoint's run has gone back behind it; null if the stage does not answer.
    /// </summary>
    public Task<bool?> IsSupersededAsync(ModelOrigin? origin) => origin is null
        ? Task.FromResult<bool?>(null)
        : GrainCalls.TryAsync<bool?>(async () => await grains.GetGrain<ITrainingStageGrain>(
            new OpenRun(new RunId(origin.Run), origin.Stage).StageKey).IsUndoneAsync(origin.Step));

    private static ApiError NoModels { get; } = new(
        503, ApiError.Server, "no_models", "No worker has registered a model yet; retry in a moment.")
    { RetryAfter = TimeSpan.FromSeconds(2) };
}

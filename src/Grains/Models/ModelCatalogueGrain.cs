// The models of the cluster, as the workers that can hold them describe them.
using Atelier.Contracts;
using Atelier.Grains.Hosting;

namespace Atelier.Grains.Models;

/// <summary>Cards as they are stored.</summary>
[GenerateSerializer, Alias("atelier.state.ModelCatalogue")]
internal sealed class ModelCatalogueState
{
    /// <summary>The cards.</summary>
    [Id(0)]
    public List<ModelCard> Cards { get; set; } = [];
}

/// <summary>Names for digests, and what a picture costs.</summary>
[GrainType("modelcatalogue")]
[ControlSilo]
internal sealed class ModelCatalogueGrain([PersistentState("catalogue")] IPersistentState<ModelCatalogueState> state)
    : Grain, IModelCatalogueGrain
{
    public async Task<bool> RegisterAsync(ModelCard card)
    {
        List<ModelCard> cards = state.State.Cards;
        int place = cards.FindIndex(known => known.Digest == card.Digest);
        if (place < 0 && cards.Count >= IModelCatalogueGrain.SizeMax)
        {
            return false;
        }

        if (place < 0)
        {
            cards.Add(card);
        }
        else if (IsSame(cards[place], card))
        {
            return true;
        }
        else
        {
            cards[place] = card;
        }

        try
        {
            await state.WriteStateAsync();
        }
        catch (Exception)
        {
            DeactivateOnIdle();
            throw;
        }

        return true;
    }

    public Task<ModelCard[]> ListAsync() => Task.FromResult<ModelCard[]>(Sorted());

    public Task<ModelCard?> FindAsync(string? name) => Task.FromResult(
        name is null
            ? Sorted().FirstOrDefault()
            : Sorted().FirstOrDefault(card => card.Digest.Value == name)
                ?? Sorted().FirstOrDefault(card => card.Name == name || card.Aliases.Contains(name, StringComparer.Ordinal)));

    // Lists are compared by content, which records do not do.
    private static bool IsSame(ModelCard one, ModelCard other) =>
        one with { Aliases = [], Sizes = [] } == other with { Aliases = one.Aliases, Sizes = one.Sizes } with { Aliases = [], Sizes = [] }
        && one.Aliases.SequenceEqual(other.Aliases) && one.Sizes.SequenceEqual(other.Sizes);

    private ModelCard[] Sorted() =>
        [.. state.State.Cards.OrderByDescending(card => card.IsDefault).ThenBy(card => card.Name, StringComparer.Ordinal)];
}

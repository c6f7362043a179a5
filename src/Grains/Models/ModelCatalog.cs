// The catalog of models as a pure protocol: which model a name refers to, and which models are retired. Workers confirm
// the cards of their models periodically; a model whose card was not confirmed for a while counts as held by no live
// worker. Times are durations since this catalog started, so a wall clock that jumps retires nothing, and after a start
// every card gets its full time again.
using Atelier.Contracts;
using Atelier.Contracts.Models;

namespace Atelier.Grains.Models;

/// <summary>The stored state of the catalog.</summary>
[GenerateSerializer, Alias("atelier.state.ModelCatalogue")]
internal sealed class ModelCatalogState
{
    /// <summary>The cards, in order of registration.</summary>
    [Id(0)]
    public List<ModelCard> Cards { get; set; } = [];
}

/// <summary>Outcome of a card's registration.</summary>
internal enum Registration
{
    /// <summary>The same card was registered already.</summary>
    Confirmed,

    /// <summary>The card is new, has changed or was retired: the state must be stored.</summary>
    Changed,

    /// <summary>The card is new, and the catalog is full.</summary>
    Full,
}

/// <summary>The models of a cluster.</summary>
/// <param name="state">The stored state.</param>
/// <param name="options">The options.</param>
internal sealed class ModelCatalog(ModelCatalogState state, ModelOptions options)
{
    private readonly Dictionary<ModelDigest, TimeSpan> _confirmed = [];

    /// <summary>Registers or confirms a model that a worker can load.</summary>
    public Registration Register(ModelCard card, TimeSpan now)
    {
        int place = state.Cards.FindIndex(known => known.Digest == card.Digest);
        if (place < 0 && state.Cards.Count >= IModelCatalogGrain.SizeMax)
        {
            return Registration.Full;
        }

        bool isBack = place >= 0 && !IsLive(card, now);
        bool isSame = place >= 0 && IsSame(state.Cards[place], card);
        _confirmed[card.Digest] = now;
        if (isBack || place < 0)
        {
            // A model that returns is the newest again, as after the rollback of a release.
            state.Cards.RemoveAll(known => known.Digest == card.Digest);
            state.Cards.Add(card);
        }
        else
        {
            state.Cards[place] = card;
        }

        return isSame && !isBack ? Registration.Confirmed : Registration.Changed;
    }

    /// <summary>Removes a card; returns whether there was one.</summary>
    public bool Drop(ModelDigest model)
    {
        _confirmed.Remove(model);
        return state.Cards.RemoveAll(card => card.Digest == model) > 0;
    }

    /// <summary>All models that were not replaced, the default one first.</summary>
    public ModelCard[] List(TimeSpan now) => [.. Ordered(now).Where(card => Successor(card, now) is null)];

    /// <summary>
    /// Finds a model by digest, name or alias, or the default model if the name is null. Of several candidates, those
    /// held by a live worker come first, and of these the newest.
    /// </summary>
    public ModelCard? Find(string? name, TimeSpan now)
    {
        ModelCard? found = name is null
            ? Ordered(now).FirstOrDefault()
            : state.Cards.Find(card => card.Digest.Value == name) ?? Named(name, now);
        return found is null
            ? null
            : found with { ReplacedBy = Successor(found, now), Unconfirmed = Silence(found, now) };
    }

    /// <summary>
    /// Models that no live worker holds and whose name another model has taken over, the oldest first.
    /// </summary>
    public IEnumerable<ModelDigest> Retired(TimeSpan now) =>
        state.Cards.Where(card => Successor(card, now) is not null).Select(card => card.Digest);

    /// <summary>
    /// Models that no live worker holds: published ones first, which silos fetch again, and of each kind the oldest.
    /// </summary>
    public IEnumerable<ModelDigest> Unconfirmed(TimeSpan now) =>
        state.Cards.Where(card => !IsLive(card, now)).OrderBy(card => card.Origin is null).Select(card => card.Digest);

    private TimeSpan Silence(ModelCard card, TimeSpan now) => now - _confirmed.GetValueOrDefault(card.Digest);

    private bool IsLive(ModelCard card, TimeSpan now) => Silence(card, now) < options.ConfirmedFor;

    // The live model that now has a card's name, if no live worker holds the card's own model.
    private ModelDigest? Successor(ModelCard card, TimeSpan now) =>
        !IsLive(card, now) && Named(card.Name, now) is { } other && IsLive(other, now) ? other.Digest : null;

    private ModelCard? Named(string name, TimeSpan now) => Enumerable.Reverse(state.Cards)
        .Where(card => card.Name == name || card.Aliases.Contains(name, StringComparer.Ordinal))
        .OrderByDescending(card => IsLive(card, now)).ThenByDescending(card => card.Name == name).FirstOrDefault();

    private IEnumerable<ModelCard> Ordered(TimeSpan now) => Enumerable.Reverse(state.Cards)
        .OrderByDescending(card => card.IsDefault)
        .ThenBy(card => card.IsDefault ? "" : card.Name, StringComparer.Ordinal)
        .ThenByDescending(card => IsLive(card, now));

    // Compares lists by content, which records do not.
    private static bool IsSame(ModelCard one, ModelCard other) =>
        one with { Aliases = [], Sizes = [] } == other with { Aliases = [], Sizes = [] }
        && one.Aliases.SequenceEqual(other.Aliases) && one.Sizes.SequenceEqual(other.Sizes);
}

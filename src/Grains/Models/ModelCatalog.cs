// Which card a name means, and which models have had their time, as a pure protocol. Workers confirm their cards again
// and again; a card that nobody has confirmed for a while is one that no live worker holds. Times are durations since
// this catalogue started: a wall clock that jumps retires nothing, and after a start every card has its full time
// again.
using Atelier.Contracts;
using Atelier.Contracts.Models;

namespace Atelier.Grains.Models;

/// <summary>Cards as they are stored, the one that came last at the end.</summary>
[GenerateSerializer, Alias("atelier.state.ModelCatalogue")]
internal sealed class ModelCatalogState
{
    /// <summary>The cards.</summary>
    [Id(0)]
    public List<ModelCard> Cards { get; set; } = [];
}

/// <summary>What became of a card that a worker brought.</summary>
internal enum Registration
{
    /// <summary>It is known as it is.</summary>
    Confirmed,

    /// <summary>It is new, has changed or has come back: the state must be stored.</summary>
    Changed,

    /// <summary>It is new, and there is no room.</summary>
    Full,
}

/// <summary>The models of a cluster.</summary>
/// <param name="state">Its stored state.</param>
/// <param name="options">How it behaves.</param>
internal sealed class ModelCatalog(ModelCatalogState state, ModelOptions options)
{
    private readonly Dictionary<ModelDigest, TimeSpan> _confirmed = [];

    /// <summary>A worker says that it can hold a model.</summary>
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
            // One that comes back is the newest again, as after a release that was taken back.
            state.Cards.RemoveAll(known => known.Digest == card.Digest);
            state.Cards.Add(card);
        }
        else
        {
            state.Cards[place] = card;
        }

        return isSame && !isBack ? Registration.Confirmed : Registration.Changed;
    }

    /// <summary>Takes a card out.</summary>
    public void Drop(ModelDigest model)
    {
        state.Cards.RemoveAll(card => card.Digest == model);
        _confirmed.Remove(model);
    }

    /// <summary>All models that are offered, the default one first.</summary>
    public ModelCard[] List(TimeSpan now) => [.. Ordered(now).Where(card => Successor(card, now) is null)];

    /// <summary>
    /// The model of a digest, a name or an alias; without a name the default one. Of several the one that a live worker
    /// holds, and of these the newest.
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

    /// <summary>Models that no live worker holds and whose name another has, the oldest first.</summary>
    public IEnumerable<ModelDigest> Retired(TimeSpan now) =>
        state.Cards.Where(card => Successor(card, now) is not null).Select(card => card.Digest);

    /// <summary>Models that no live worker holds, the oldest first.</summary>
    public IEnumerable<ModelDigest> Unconfirmed(TimeSpan now) =>
        state.Cards.Where(card => !IsLive(card, now)).Select(card => card.Digest);

    private TimeSpan Silence(ModelCard card, TimeSpan now) => now - _confirmed.GetValueOrDefault(card.Digest);

    private bool IsLive(ModelCard card, TimeSpan now) => Silence(card, now) < options.ConfirmedFor;

    // The live model that has a card's name now, if no live worker holds the card's own.
    private ModelDigest? Successor(ModelCard card, TimeSpan now) =>
        !IsLive(card, now) && Named(card.Name, now) is { } other && IsLive(other, now) ? other.Digest : null;

    private ModelCard? Named(string name, TimeSpan now) => Enumerable.Reverse(state.Cards)
        .Where(card => card.Name == name || card.Aliases.Contains(name, StringComparer.Ordinal))
        .OrderByDescending(card => IsLive(card, now)).ThenByDescending(card => card.Name == name).FirstOrDefault();

    private IEnumerable<ModelCard> Ordered(TimeSpan now) => Enumerable.Reverse(state.Cards)
        .OrderByDescending(card => card.IsDefault)
        .ThenBy(card => card.IsDefault ? "" : card.Name, StringComparer.Ordinal)
        .ThenByDescending(card => IsLive(card, now));

    // Lists are compared by content, which records do not do.
    private static bool IsSame(ModelCard one, ModelCard other) =>
        one with { Aliases = [], Sizes = [] } == other with { Aliases = [], Sizes = [] }
        && one.Aliases.SequenceEqual(other.Aliases) && one.Sizes.SequenceEqual(other.Sizes);
}

// Goal: a name means the newest model that a live worker holds, and a model that no worker holds loses its name, and
// its place, to others. Method: the pure catalog, with explicit times.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Grains.Models;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Models;

public sealed class ModelCatalogTests
{
    private static readonly ModelOptions s_options = new();
    private static readonly TimeSpan s_start = TimeSpan.Zero, s_silent = s_options.ConfirmedFor;
    private static readonly ModelCard s_old = FakeDevice.Card(0), s_new = s_old with { Digest = FakeDevice.ModelOf(1) };

    [Theory]
    [InlineData(null)]
    [InlineData("fake0")]
    [InlineData("other")]
    public void NewerModelOfAName_HasIt_FromItsFirstCard(string? name)
    {
        ModelCatalog catalog = Catalog(s_old);
        Assert.Equal(s_old.Digest, catalog.Find(name, s_start)!.Digest);
        Assert.Equal(Registration.Changed, catalog.Register(s_new, s_start));
        Assert.Equal(s_new.Digest, catalog.Find(name, s_start)!.Digest);
        Assert.Equal(Registration.Confirmed, catalog.Register(s_old, s_start));
        Assert.Equal(s_new.Digest, catalog.Find(name, s_start)!.Digest);
        Assert.Null(catalog.Find(s_old.Digest.Value, s_start)!.ReplacedBy);
        Assert.Equal([s_new.Digest, s_old.Digest], catalog.List(s_start).Select(card => card.Digest));
    }

    [Fact]
    public void ModelThatNobodyConfirms_IsRetired_WhereALiveOneHasItsName()
    {
        ModelCatalog catalog = Catalog(s_old, s_new);
        catalog.Register(s_new, s_silent);
        ModelCard old = catalog.Find(s_old.Digest.Value, s_silent)!;
        Assert.Equal((s_new.Digest, s_silent), (old.ReplacedBy, old.Unconfirmed));
        Assert.Equal([s_new.Digest], catalog.List(s_silent).Select(card => card.Digest));
    }

    [Fact]
    public void ModelThatNobodyConfirms_KeepsItsName_WhereNobodyElseHasIt()
    {
        ModelCatalog catalog = Catalog(s_old, FakeDevice.Card(1));
        catalog.Register(FakeDevice.Card(1), s_silent);
        Assert.Equal(s_old.Digest, catalog.Find("fake0", s_silent)!.Digest);
        Assert.Equal(s_old.Digest, catalog.Find(null, s_silent)!.Digest);
        Assert.Null(catalog.Find("fake0", s_silent)!.ReplacedBy);
        Assert.Equal(2, catalog.List(s_silent).Length);

        // A live model takes over an alias.
        Assert.Equal(FakeDevice.ModelOf(1), catalog.Find("other", s_silent)!.Digest);
    }

    [Fact]
    public void ModelsThatNobodyConfirms_DoNotRetireEachOther()
    {
        ModelCatalog catalog = Catalog(s_old, s_new);
        Assert.Equal(2, catalog.List(s_silent).Length);
        Assert.Empty(catalog.Retired(s_silent));
    }

    [Fact]
    public void OlderModelOfAName_HasItAgain_WhenTheNewerIsGone()
    {
        ModelCatalog catalog = Catalog(s_old, s_new);
        catalog.Register(s_old, s_silent / 2);
        Assert.Equal(s_new.Digest, catalog.Find("fake0", s_silent / 2)!.Digest);
        Assert.Equal(s_old.Digest, catalog.Find("fake0", s_silent)!.Digest);
        Assert.Equal(s_old.Digest, catalog.Find(null, s_silent)!.Digest);
    }

    [Fact]
    public void RetiredModelThatComesBack_IsTheNewest()
    {
        ModelCatalog catalog = Catalog(s_old, s_new);
        catalog.Register(s_new, s_silent);
        Assert.Equal(Registration.Changed, catalog.Register(s_old, s_silent));
        Assert.Equal(s_old.Digest, catalog.Find("fake0", s_silent)!.Digest);
    }

    [Fact]
    public void CatalogThatStarts_WaitsForEveryCard()
    {
        var state = new ModelCatalogState { Cards = [s_old, s_new] };
        var catalog = new ModelCatalog(state, s_options);
        Assert.Null(catalog.Find(s_old.Digest.Value, s_start)!.ReplacedBy);
        Assert.Equal(Registration.Confirmed, catalog.Register(s_old, s_silent / 2));
        Assert.Equal([s_old, s_new], state.Cards);
    }

    [Fact]
    public void FullCatalog_AcceptsKnownModelsOnly_AndNamesTheOneToEvict()
    {
        ModelCard[] cards = [.. Enumerable.Range(0, IModelCatalogGrain.SizeMax).Select(Numbered)];
        ModelCatalog catalog = Catalog(cards);
        ModelCard one = Numbered(100) with { Name = cards[7].Name };
        Assert.Equal(Registration.Full, catalog.Register(one, s_start));
        Assert.Equal(Registration.Confirmed, catalog.Register(cards[0], s_start));
        Assert.Empty(catalog.Unconfirmed(s_start));

        catalog.Drop(cards[3].Digest);
        catalog.Register(one, s_silent);
        Assert.Equal([cards[7].Digest], catalog.Retired(s_silent));
        Assert.Equal(IModelCatalogGrain.SizeMax - 1, catalog.Unconfirmed(s_silent).Count());
    }

    private static ModelCard Numbered(int number) => FakeDevice.Card(0) with
    {
        Digest = new ModelDigest(number.ToString("x64", null)),
        Name = $"model{number}",
        Aliases = [],
        IsDefault = false,
    };

    private static ModelCatalog Catalog(params ModelCard[] cards)
    {
        var catalog = new ModelCatalog(new ModelCatalogState(), s_options);
        foreach (ModelCard card in cards)
        {
            Assert.Equal(Registration.Changed, catalog.Register(card, s_start));
        }

        return catalog;
    }
}

// Goal: a name means the newest model that a live worker holds, and a model that nobody holds leaves its name, and its
// place, to others. Method: the pure catalogue, with explicit times.
using Atelier.Contracts;
using Atelier.Grains.Models;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Models;

public sealed class ModelCatalogueTests
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
        ModelCatalogue catalogue = Catalogue(s_old);
        Assert.Equal(s_old.Digest, catalogue.Find(name, s_start)!.Digest);
        Assert.Equal(Registration.Changed, catalogue.Register(s_new, s_start));
        Assert.Equal(s_new.Digest, catalogue.Find(name, s_start)!.Digest);
        Assert.Equal(Registration.Confirmed, catalogue.Register(s_old, s_start));
        Assert.Equal(s_new.Digest, catalogue.Find(name, s_start)!.Digest);
        Assert.Null(catalogue.Find(s_old.Digest.Value, s_start)!.ReplacedBy);
        Assert.Equal([s_new.Digest, s_old.Digest], catalogue.List(s_start).Select(card => card.Digest));
    }

    [Fact]
    public void ModelThatNobodyConfirms_IsRetired_WhereALiveOneHasItsName()
    {
        ModelCatalogue catalogue = Catalogue(s_old, s_new);
        catalogue.Register(s_new, s_silent);
        ModelCard old = catalogue.Find(s_old.Digest.Value, s_silent)!;
        Assert.Equal((s_new.Digest, s_silent), (old.ReplacedBy, old.Unconfirmed));
        Assert.Equal([s_new.Digest], catalogue.List(s_silent).Select(card => card.Digest));
    }

    [Fact]
    public void ModelThatNobodyConfirms_KeepsItsName_WhereNobodyElseHasIt()
    {
        ModelCatalogue catalogue = Catalogue(s_old, FakeDevice.Card(1));
        catalogue.Register(FakeDevice.Card(1), s_silent);
        Assert.Equal(s_old.Digest, catalogue.Find("fake0", s_silent)!.Digest);
        Assert.Equal(s_old.Digest, catalogue.Find(null, s_silent)!.Digest);
        Assert.Null(catalogue.Find("fake0", s_silent)!.ReplacedBy);
        Assert.Equal(2, catalogue.List(s_silent).Length);

        // An alias is taken by whoever is alive.
        Assert.Equal(FakeDevice.ModelOf(1), catalogue.Find("other", s_silent)!.Digest);
    }

    [Fact]
    public void ModelsThatNobodyConfirms_DoNotRetireEachOther()
    {
        ModelCatalogue catalogue = Catalogue(s_old, s_new);
        Assert.Equal(2, catalogue.List(s_silent).Length);
        Assert.Empty(catalogue.Retired(s_silent));
    }

    [Fact]
    public void OlderModelOfAName_HasItAgain_WhenTheNewerIsGone()
    {
        ModelCatalogue catalogue = Catalogue(s_old, s_new);
        catalogue.Register(s_old, s_silent / 2);
        Assert.Equal(s_new.Digest, catalogue.Find("fake0", s_silent / 2)!.Digest);
        Assert.Equal(s_old.Digest, catalogue.Find("fake0", s_silent)!.Digest);
        Assert.Equal(s_old.Digest, catalogue.Find(null, s_silent)!.Digest);
    }

    [Fact]
    public void RetiredModelThatComesBack_IsTheNewest()
    {
        ModelCatalogue catalogue = Catalogue(s_old, s_new);
        catalogue.Register(s_new, s_silent);
        Assert.Equal(Registration.Changed, catalogue.Register(s_old, s_silent));
        Assert.Equal(s_old.Digest, catalogue.Find("fake0", s_silent)!.Digest);
    }

    [Fact]
    public void CatalogueThatStarts_GivesEveryCardItsTime()
    {
        var state = new ModelCatalogueState { Cards = [s_old, s_new] };
        var catalogue = new ModelCatalogue(state, s_options);
        Assert.Null(catalogue.Find(s_old.Digest.Value, s_start)!.ReplacedBy);
        Assert.Equal(Registration.Confirmed, catalogue.Register(s_old, s_silent / 2));
        Assert.Equal([s_old, s_new], state.Cards);
    }

    [Fact]
    public void FullCatalogue_TakesKnownModelsAlone_AndNamesWhoMayLeave()
    {
        ModelCard[] cards = [.. Enumerable.Range(0, IModelCatalogueGrain.SizeMax).Select(Numbered)];
        ModelCatalogue catalogue = Catalogue(cards);
        ModelCard one = Numbered(100) with { Name = cards[7].Name };
        Assert.Equal(Registration.Full, catalogue.Register(one, s_start));
        Assert.Equal(Registration.Confirmed, catalogue.Register(cards[0], s_start));
        Assert.Empty(catalogue.Unconfirmed(s_start));

        catalogue.Drop(cards[3].Digest);
        catalogue.Register(one, s_silent);
        Assert.Equal([cards[7].Digest], catalogue.Retired(s_silent));
        Assert.Equal(IModelCatalogueGrain.SizeMax - 1, catalogue.Unconfirmed(s_silent).Count());
    }

    private static ModelCard Numbered(int number) => FakeDevice.Card(0) with
    {
        Digest = new ModelDigest(number.ToString("x64", null)), Name = $"model{number}", Aliases = [],
        IsDefault = false,
    };

    private static ModelCatalogue Catalogue(params ModelCard[] cards)
    {
        var catalogue = new ModelCatalogue(new ModelCatalogueState(), s_options);
        foreach (ModelCard card in cards)
        {
            Assert.Equal(Registration.Changed, catalogue.Register(card, s_start));
        }

        return catalogue;
    }
}

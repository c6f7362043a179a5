// Goal: a name of a published model means one checkpoint until it is withdrawn, and what is stored for a publication is
// needed exactly as long as it is listed. Method: the pure list, call by call.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Grains.Models;
using Xunit;

namespace Atelier.Grains.Tests.Models;

public sealed class PublishedModelsTests
{
    private readonly PublishedModelsState _state = new();
    private readonly PublishedModels _models;

    public PublishedModelsTests() => _models = new PublishedModels(_state);

    /// <summary>A model with two files, one of which all models share.</summary>
    internal static PublishedModel Model(string name, long step, string? owner = null)
    {
        string digest = Convert.ToHexStringLower(
            System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes($"{name} {step}")));
        return new PublishedModel
        {
            Digest = new ModelDigest(digest),
            Name = name,
            Files = [new PublishedFile("shared", new string('f', 64), 7), new PublishedFile("model.json", digest, 5)],
            Origin = new ModelOrigin("run", 0, step, new string('d', 64)),
            Base = new ModelDigest(new string('b', 64)),
            Owner = owner ?? Guid.NewGuid().ToString("N"),
            PublishedAt = DateTimeOffset.UnixEpoch,
        };
    }

    [Fact]
    public void TheSameModelAgain_GetsTheFirstAnswer_AndAnotherOneIsRefused()
    {
        PublishedModel first = Model("one", 3);
        Assert.Same(first, Published(first).Model);
        Assert.Same(first, Published(Model("one", 3)).Model);

        (PublishAnswer refused, PublishedModel? replaced) = _models.Publish(Model("one", 4));
        Assert.Equal((PublishOutcome.NameExists, first), (refused.Outcome, refused.Model));
        Assert.Null(replaced);
        Assert.Equal([first], _state.Models);
    }

    [Fact]
    public void AModelExpires_AtItsTime_Once()
    {
        DateTimeOffset now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);
        Published(Model("kept", 1));
        PublishedModel brief = Published(Model("short", 2) with { ExpiresAt = now }).Model!;
        Assert.Empty(_models.Expired(now.AddTicks(-1)));
        Assert.Equal([brief], _models.Expired(now));

        // Published again, it expires later, and never earlier.
        brief = _models.Publish(Model("short", 2) with { ExpiresAt = now.AddHours(1) }).Answer.Model!;
        _models.Publish(Model("short", 2) with { ExpiresAt = now });
        Assert.Empty(_models.Expired(now));
        now = now.AddHours(1);
        Assert.Equal([brief], _models.Expired(now));
        _models.Withdraw("short");
        Assert.Empty(_models.Expired(now));
    }

    [Fact]
    public void AWithdrawnModel_LeavesItsName_AndKeepsItsFiles_UntilItIsRemoved()
    {
        PublishedModel first = Model("one", 3);
        Published(first);
        Assert.Null(_models.Withdraw("two"));
        Assert.True(_models.Withdraw("one"));
        Assert.False(_models.Withdraw("one")); // Nothing is to be stored.
        Assert.Null(_models.Find("one"));
        Assert.True(_models.Needs(first.Owner, first.Files[0].Blob));

        // Another checkpoint takes the name; the files of each belong to it alone.
        PublishedModel second = Published(Model("one", 4)).Model!;
        Assert.Same(second, _models.Find("one"));
        PublishedModel withdrawn = Assert.Single(_models.Withdrawn);
        Assert.Equal(first.Digest, withdrawn.Digest);
        _models.Remove(withdrawn);
        Assert.False(_models.Needs(first.Owner, first.Files[0].Blob));
        Assert.True(_models.Needs(second.Owner, second.Files[0].Blob));
        Assert.False(_models.Needs(second.Owner, first.Files[1].Blob));
        Assert.Empty(_models.Withdrawn);
    }

    [Fact]
    public void AWithdrawnModelThatIsPublishedAgain_ReplacesItsEntry()
    {
        PublishedModel first = Model("one", 3), again = Model("one", 3);
        Published(first);
        _models.Withdraw("one");
        (PublishAnswer answer, PublishedModel? replaced) = _models.Publish(again);
        Assert.Equal((PublishOutcome.Published, again), (answer.Outcome, answer.Model));
        Assert.Equal(first.Owner, replaced!.Owner);
        Assert.Equal([again], _state.Models);
    }

    [Fact]
    public void AFullList_RefusesOneMore_AndAnswersForWhatItHas()
    {
        for (int i = 0; i < IPublishedModelsGrain.SizeMax; i++)
        {
            Published(Model($"m{i}", 1));
        }

        Assert.Equal(PublishOutcome.Full, _models.Publish(Model("more", 1)).Answer.Outcome);
        Assert.Equal(PublishOutcome.Published, _models.Publish(Model("m3", 1)).Answer.Outcome);
        Assert.Equal(IPublishedModelsGrain.SizeMax, _state.Models.Count);
    }

    private PublishAnswer Published(PublishedModel model)
    {
        (PublishAnswer answer, PublishedModel? replaced) = _models.Publish(model);
        Assert.Equal(PublishOutcome.Published, answer.Outcome);
        Assert.Null(replaced);
        return answer;
    }
}

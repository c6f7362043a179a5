// Goal: a new model finds room; idle models are evicted before models in use, and models in use take turns. Method:
// small tables of loaded models.
using Atelier.Contracts;
using Atelier.Grains.Models;
using Xunit;

namespace Atelier.Grains.Tests.Models;

public sealed class ModelChoiceTests
{
    private static readonly ModelDigest s_a = new(new string('a', 64)), s_b = new(new string('b', 64)), s_c = new(
        new string('c', 64));

    [Fact]
    public void RoomForAll_EvictsNothing() => Expect([], [Model(s_a, 10, true, 1, 1)], 10, 20);

    [Fact]
    public void OfTwoThatAreIdle_TheOneUsedLongestAgoGoes() =>
        Expect([s_b], [Model(s_a, 10, false, 1, 5), Model(s_b, 10, false, 2, 4)], 10, 20);

    [Fact]
    public void OneThatIsIdle_GoesBeforeOneInUse() =>
        Expect([s_b], [Model(s_a, 10, true, 1, 1), Model(s_b, 10, false, 2, 9)], 10, 20);

    [Fact]
    public void OfTwoInUse_TheOneLoadedFirstGoes() =>
        Expect([s_a], [Model(s_a, 10, true, 1, 9), Model(s_b, 10, true, 2, 3)], 10, 20);

    [Fact]
    public void ALargeOne_TakesThePlaceOfSeveral() => Expect(
        [s_b, s_a], [Model(s_a, 10, true, 1, 1), Model(s_b, 10, false, 2, 2), Model(s_c, 5, true, 3, 3)], 20, 25);

    [Fact]
    public void OneThatJustFits_EvictsNothing_AndAByteMoreEvicts()
    {
        Expect([], [Model(s_a, 10, false, 1, 1)], 10, 20);
        Expect([s_a], [Model(s_a, 10, false, 1, 1)], 11, 20);
    }

    [Fact]
    public void OfEquals_TheirDigestsDecide() =>
        Expect([s_a, s_b], [Model(s_b, 10, true, 1, 1), Model(s_a, 10, true, 1, 1)], 20, 20);

    [Fact]
    public void OneThatFitsNowhere_TakesAllThatThereIs() =>
        Expect([s_b, s_a], [Model(s_a, 10, true, 1, 1), Model(s_b, 10, false, 1, 1)], 99, 20);

    private static LoadedModel Model(ModelDigest model, long bytes, bool isUsed, int loadedAt, int usedAt) =>
        new(model, bytes, isUsed, TimeSpan.FromSeconds(loadedAt), TimeSpan.FromSeconds(usedAt));

    private static void Expect(ModelDigest[] evict, LoadedModel[] loaded, long bytes, long memory) =>
        Assert.Equal(evict, ModelChoice.Evictions(loaded, bytes, memory));
}

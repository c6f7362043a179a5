// Goal: a worker serves what it holds, changes when that is worth it, and evicts what it used longest ago. Method:
// small tables of what waits where.
using Atelier.Contracts;
using Atelier.Grains.Models;
using Xunit;

namespace Atelier.Grains.Tests.Models;

public sealed class ModelChoiceTests
{
    private static readonly ModelDigest s_a = new(new string('a', 64)), s_b = new(new string('b', 64)), s_c = new(new string('c', 64));
    private static readonly DateTimeOffset s_now = new(2030, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void NothingWaits_NothingHappens() =>
        Expect(null, false, [], [new(s_a, 10, 0, 1, s_now), new(s_b, 10, 0, 0, null)], 10);

    [Fact]
    public void HeldModelWithWork_IsServed() =>
        Expect(s_a, false, [], [new(s_a, 10, 5, 1, s_now), new(s_b, 10, 15, 1, null)], 10);

    [Fact]
    public void MuchMoreWorkElsewhere_IsWorthAChange() =>
        Expect(s_b, true, [s_a], [new(s_a, 10, 5, 1, s_now), new(s_b, 10, 25, 1, null)], 10);

    [Fact]
    public void WorkThatNobodyDoes_IsTakenByOneOfMany() =>
        Expect(s_b, true, [s_a], [new(s_a, 10, 100, 3, s_now), new(s_b, 10, 1, 0, null)], 10);

    [Fact]
    public void RoomForBoth_EvictsNothing() =>
        Expect(s_b, true, [], [new(s_a, 10, 0, 1, s_now), new(s_b, 10, 1, 0, null)], 20);

    [Fact]
    public void OfTwoThatAreIdle_TheOneUsedLongestAgoGoes() => Expect(
        s_c, true, [s_b],
        [new(s_a, 10, 0, 1, s_now), new(s_b, 10, 0, 1, s_now.AddMinutes(-1)), new(s_c, 10, 1, 0, null)], 20);

    [Fact]
    public void ModelThatNeverFits_IsNotTried() => Expect(null, false, [], [new(s_a, 30, 9, 0, null)], 20);

    private static void Expect(ModelDigest? serve, bool load, ModelDigest[] evict, ModelDemand[] demands, long memory)
    {
        ModelPlan plan = ModelChoice.Decide(demands, memory);
        Assert.Equal((serve, load), (plan.Serve, plan.Load));
        Assert.Equal(evict, plan.Evict);
    }
}

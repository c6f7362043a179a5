// Goal: as few trainers as possible leave, so that the remaining ones reach each other. Method: comparison with all
// sets of a few trainers.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class LinkCoverTests
{
    [Fact]
    public void FewestLeave_AndOfThoseTheSlowest() =>
        Gen.Select(Gen.Select(Gen.Int[0, 7], Gen.Int[0, 7]).Array[0, 12], Gen.Int[1, 5].Array[8]).Sample(
            (links, speeds) =>
            {
                (TrainerId, TrainerId)[] broken =
                    [.. links.Where(link => link.Item1 != link.Item2).Select(link => (Id(link.Item1), Id(link.Item2)))];
                IReadOnlySet<TrainerId> cover = LinkCover.Of(broken, id => speeds[(int)id.Incarnation]);
                Assert.All(broken, link => Assert.True(cover.Contains(link.Item1) || cover.Contains(link.Item2)));
                (int Count, int Speed) best = Enumerable.Range(0, 256)
                    .Where(set => broken.All(link =>
                        (set >> (int)link.Item1.Incarnation & 1) + (set >> (int)link.Item2.Incarnation & 1) > 0))
                    .Select(set => (
                        int.PopCount(set), Enumerable.Range(0, 8).Where(i => (set >> i & 1) > 0).Sum(i => speeds[i])))
                    .Min();
                Assert.Equal(best, (cover.Count, cover.Sum(id => speeds[(int)id.Incarnation])));
            });

    [Fact]
    public void OneThatReachesNobody_LeavesAlone_EvenAmongVeryMany()
    {
        (TrainerId, TrainerId)[] broken = [.. Enumerable.Range(1, 40).Select(other => (Id(0), Id(other)))];
        Assert.Equal([Id(0)], LinkCover.Of(broken, _ => 1));
    }

    private static TrainerId Id(int number) => new($"t{number}", number);

    // More trainers than the limit of the exact search.
    [Fact]
    public void ManyBrokenLinks_AreAllCovered()
    {
        TrainerId[] trainers = [.. Enumerable.Range(0, 30).Select(i => new TrainerId($"t{i:00}", 1))];
        (TrainerId One, TrainerId Other)[] links =
        [
            .. trainers.Take(25).Skip(1).Select(other => (trainers[0], other)), (trainers[26], trainers[27]),
        ];
        IReadOnlySet<TrainerId> cover = LinkCover.Of(links, _ => 1);
        Assert.All(links, link => Assert.True(cover.Contains(link.One) || cover.Contains(link.Other)));
        Assert.Equal(2, cover.Count);
    }
}

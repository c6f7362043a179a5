// Goal: every shard is given to exactly one trainer, in runs whose lengths follow the speeds, with few nodes to send.
// Method: generated speeds, and the counted traffic of equally fast trainers.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class ShardDealTests
{
    [Fact]
    public void Nodes_CoverTheRunOnce_WithAsFewSubtreesAsThereAre() =>
        Gen.Select(Gen.Int[0, 200], Gen.Int[1, 200]).Sample((first, count) =>
        {
            var run = new ShardRun(first, count);
            TreeNode[] nodes = [.. run.Nodes()];
            Assert.Equal(
                Enumerable.Range(first, count),
                nodes.SelectMany(node => Enumerable.Range(node.Index << node.Level, 1 << node.Level)));
            Assert.Equal(nodes.Length, run.NodeCount());
            Assert.DoesNotContain(
                nodes, node => nodes.Contains(node with { Index = node.Index ^ 1 }) && node.Index % 2 == 0);
        });

    [Fact]
    public void EveryShard_IsDealtOnce_InOrder_AndEverybodyHasOne() => Deals.Sample((shards, speeds) =>
    {
        int next = 0;
        foreach (ShardRun run in ShardDeal.Of(shards, speeds))
        {
            Assert.Equal(next, run.First);
            Assert.InRange(run.Count, 1, shards);
            next = run.End;
        }

        Assert.Equal(shards, next);
    });

    // Whatever the unit of the others' speeds: a newcomer that reports 1 would get one shard, or most of them.
    [Theory]
    [InlineData(0.01)]
    [InlineData(30)]
    public void ATrainerThatHasComputedNothing_GetsAsManyShardsAsTheOthers(double speed)
    {
        TrainerReport[] reports =
        [
            .. Enumerable.Range(0, 8).Select(i => new TrainerReport
            {
                Id = new TrainerId($"t{i}", 1), Address = "", Speed = i == 3 ? 1 : speed, IsMeasured = i != 3,
            }),
        ];
        Assert.All(ShardDeal.Among(64, reports), run => Assert.Equal(8, run.Count));
        Assert.All(
            ShardDeal.Among(64, [.. reports.Select(one => one with { IsMeasured = false, Speed = 1 })]),
            run => Assert.Equal(8, run.Count));
    }

    // Lower bounds of a step's time: all shards at the total speed of all trainers, and one shard on the slowest
    // trainer.
    [Fact]
    public void Step_TakesLittleLongerThanTheShortestDeal() => Deals.Sample((shards, speeds) =>
    {
        double time = ShardDeal.Of(shards, speeds).Select((run, i) => run.Count / speeds[i]).Max();
        double bound = Enumerable.Range(1, shards).SelectMany(count => speeds.Select(speed => count / speed)).Order()
            .First(limit => speeds.All(speed => limit * speed >= 1 - 1e-9)
                && speeds.Sum(speed => Math.Floor((limit * speed) + 1e-9)) >= shards);
        Assert.InRange(time, bound * (1 - 1e-9), bound * 1.2);
    });

    // Bytes that a trainer sends for a step, in units of the parameter vector: its nodes to the owners of the other
    // slices, and the total of its own slice to all others.
    [Theory]
    [InlineData(8, 2.1)]
    [InlineData(64, 4)]
    public void EqualTrainers_SendLittle(int shards, double most)
    {
        for (int trainers = 2; trainers <= shards; trainers++)
        {
            double others = (trainers - 1.0) / trainers;
            double traffic = ShardDeal.Of(shards, [.. Enumerable.Repeat(1.0, trainers)])
                .Average(run => (run.NodeCount() + 1) * others);
            Assert.True(traffic <= most, $"{trainers} trainers send {traffic:f2} vectors each");
        }
    }

    [Fact]
    public void Speeds_DecideHowManyShardsATrainerHas()
    {
        Assert.Equal([6, 2], ShardDeal.Of(8, [3, 1]).Select(run => run.Count));
        Assert.Equal([1, 1, 14], ShardDeal.Of(16, [0.01, 0.01, 1]).Select(run => run.Count));
    }

    [Theory]
    [InlineData(4, new double[0])]
    [InlineData(2, new[] { 1.0, 1, 1 })]
    [InlineData(4, new[] { 1.0, 0 })]
    [InlineData(4, new[] { 1.0, double.NaN })]
    [InlineData(4, new[] { 1.0, double.PositiveInfinity })]
    public void DealsThatCannotBe_AreRefused(int shards, double[] speeds) =>
        Assert.Contains(
            $"{shards} shards", Assert.Throws<ArgumentException>(() => ShardDeal.Of(shards, speeds)).Message);

    private static Gen<(int Shards, double[] Speeds)> Deals { get; } =
        from level in Gen.Int[0, 7]
        from trainers in Gen.Int[1, Math.Min(24, 1 << level)]
        from speeds in Gen.Double[0.2, 3].Array[trainers]
        select (1 << level, speeds);
}

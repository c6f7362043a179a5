// Goal: pictures join, leave and stop between evaluations, are batched by key, and none waits forever. Method: pictures
// that only count, in random sequences of events.
using Atelier.Grains.Batching;
using Xunit;

namespace Atelier.Grains.Tests.Batching;

public sealed class StepBatcherTests
{
    [Fact]
    public async Task EqualKeys_ShareEvaluations_WhateverTheirStep()
    {
        var batcher = new StepBatcher<Picture>(4, 8);
        var evaluator = new Evaluator();
        var first = new Picture("a", 10);
        Assert.True(batcher.TryJoin(first, "o"));
        await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        var second = new Picture("a", 3);
        Assert.True(batcher.TryJoin(second, "o"));
        Assert.Equal(
            [first, second], await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken));
        Assert.Equal((3, 1), (first.Evaluations, second.Evaluations));
    }

    [Fact]
    public void Full_AcceptsNothing_AndADroppedPictureFreesItsSlotAtOnce()
    {
        var batcher = new StepBatcher<Picture>(2, 8);
        var one = new Picture("a", 2);
        Assert.True(batcher.TryJoin(one, "o"));
        Assert.False(batcher.TryJoin(one, "o"));
        Assert.True(batcher.TryJoin(new Picture("a", 2), "o"));
        Assert.False(batcher.TryJoin(new Picture("a", 2), "o"));
        batcher.Drop(one);
        Assert.Equal(1, batcher.Free);
        Assert.DoesNotContain(one, batcher.Next());
    }

    [Fact]
    public async Task LeavingPicture_FinishesItsStep()
    {
        var batcher = new StepBatcher<Picture>(2, 8);
        var evaluator = new Evaluator();
        var picture = new Picture("a", 5);
        batcher.TryJoin(picture, "o");
        await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        batcher.Leave(picture);
        Assert.Empty(batcher.Departures());
        await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        Assert.Equal([picture], batcher.Departures());
        Assert.Equal(0, batcher.Count);
    }

    [Fact]
    public async Task RandomStories_FinishEveryPicture_WithItsOwnEvaluations()
    {
        for (int seed = 0; seed < 1000; seed++)
        {
            var random = new Random(seed);
            var batcher = new StepBatcher<Picture>(random.Next(1, 6), random.Next(1, 6));
            var evaluator = new Evaluator();
            var waiting = new Queue<Picture>(
                Enumerable.Range(0, 20).Select(
                    _ => new Picture($"k{random.Next(3)}", random.Next(1, 9), random.Next(1, 3))));
            Picture[] all = [.. waiting];
            var done = new List<Picture>();
            for (int round = 0; done.Count < all.Length; round++)
            {
                Assert.True(round < 4000, $"seed={seed}: some picture never ends");
                while (waiting.Count > 0 && batcher.TryJoin(waiting.Peek(), $"o{random.Next(2)}"))
                {
                    waiting.Dequeue();
                }

                IReadOnlyList<Picture> batch = await batcher.EvaluateOnceAsync(
                    evaluator, TestContext.Current.CancellationToken);
                Assert.True(batch.Select(picture => picture.BatchKey).Distinct().Count() <= 1, $"seed={seed}");
                if (batch.Count > 0 && random.Next(4) == 0)
                {
                    batcher.Leave(batch[random.Next(batch.Count)]);
                }

                foreach (Picture picture in batcher.Departures())
                {
                    Assert.True(picture.IsBetweenSteps, $"seed={seed}");
                    if (picture.IsDone)
                    {
                        done.Add(picture);
                    }
                    else
                    {
                        waiting.Enqueue(picture);
                    }
                }
            }

            Assert.All(all, picture => Assert.Equal(picture.Needed, picture.Evaluations));
        }
    }

    [Fact]
    public async Task Keys_TakeTurns()
    {
        var batcher = new StepBatcher<Picture>(3, 8);
        var evaluator = new Evaluator();
        batcher.TryJoin(new Picture("a", 50), "o");
        batcher.TryJoin(new Picture("a", 50), "o");
        var rare = new Picture("b", 50);
        batcher.TryJoin(rare, "o");
        for (int i = 0; i < 10; i++)
        {
            await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        }

        Assert.Equal(5, rare.Evaluations);
    }

    [Fact]
    public async Task AFullPass_GoesToTheOldest_AndWhatFitsBeside()
    {
        var batcher = new StepBatcher<Picture>(8, 2);
        var evaluator = new Evaluator();
        Picture guided = new("a", 5, rows: 2), plain = new("a", 20), wide = new("a", 5, rows: 2), other = new("a", 20);
        Assert.All([guided, plain, wide, other], picture => Assert.True(batcher.TryJoin(picture, "o")));
        while (!guided.IsDone)
        {
            Assert.Equal([guided], await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken));
        }

        // The wide one does not fit beside it and waits; the one behind it fits.
        Assert.Equal([plain, other], await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken));
        batcher.Drop(plain);
        Assert.Equal([wide], await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Owners_TakeTurns_HoweverManyPicturesOneHas()
    {
        var batcher = new StepBatcher<Picture>(8, 2);
        var evaluator = new Evaluator();
        for (int i = 0; i < 6; i++)
        {
            batcher.TryJoin(new Picture("a", 50, rows: 2), "many");
        }

        await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        var newcomer = new Picture("a", 50, rows: 2);
        batcher.TryJoin(newcomer, "one");
        Assert.Equal([newcomer], await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken));
        for (int i = 0; i < 10; i++)
        {
            await batcher.EvaluateOnceAsync(evaluator, TestContext.Current.CancellationToken);
        }

        Assert.Equal(6, newcomer.Evaluations);
    }

    private sealed class Evaluator : IBatchEvaluator<Picture>
    {
        public Task EvaluateAsync(IReadOnlyList<Picture> batch, CancellationToken cancellation)
        {
            foreach (Picture picture in batch)
            {
                picture.Evaluations++;
            }

            return Task.CompletedTask;
        }
    }

    // Two evaluations per step, one in the last.
    private sealed class Picture(string key, int steps, int rows = 1) : IBatchedPicture
    {
        public int Rows => rows;

        public string BatchKey => key;

        public int Evaluations { get; set; }

        public int Needed => (2 * steps) - 1;

        public bool IsBetweenSteps => Evaluations % 2 == 0 || IsDone;

        public bool IsDone => Evaluations == Needed;
    }
}

// Goal: pictures join, leave and stop between evaluations, are batched by key, and none waits forever. Method: pictures
// that only count, in random sequences of events.
using Atelier.Grains.Batching;
using Xunit;

namespace Atelier.Grains.Tests.Batching;

public sealed class StepBatcherTests
{
    [Fact]
    public void EqualKeys_ShareEvaluations_WhateverTheirStep()
    {
        var batcher = new StepBatcher<Picture>(4, 8);
        var first = new Picture("a", 10);
        Assert.True(batcher.TryJoin(first, "o"));
        Evaluate(batcher);
        Evaluate(batcher);
        var second = new Picture("a", 3);
        Assert.True(batcher.TryJoin(second, "o"));
        Assert.Equal([first, second], Evaluate(batcher));
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
    public void PictureThatCannotGoOn_KeepsItsPlace_AndHoldsUpNobody()
    {
        var batcher = new StepBatcher<Picture>(2, 8);
        Picture held = new("a", 5), other = new("a", 5);
        batcher.TryJoin(held, "o");
        batcher.TryJoin(other, "o");
        Assert.Equal([other], Evaluate(batcher, picture => picture != held));
        Assert.Empty(Evaluate(batcher, _ => false));
        Assert.Equal(0, batcher.Free);
        Assert.Equal([held, other], Evaluate(batcher));
    }

    [Fact]
    public void RandomStories_FinishEveryPicture_WithItsOwnEvaluations()
    {
        for (int seed = 0; seed < 1000; seed++)
        {
            var random = new Random(seed);
            var batcher = new StepBatcher<Picture>(random.Next(1, 6), random.Next(1, 6));
            var waiting = new Queue<Picture>(
                Enumerable.Range(0, 20).Select(
                    _ => new Picture($"k{random.Next(3)}", random.Next(1, 9), random.Next(1, 3))));
            Picture[] all = [.. waiting];
            var leaving = new HashSet<Picture>();
            int done = 0;
            for (int round = 0; done < all.Length; round++)
            {
                Assert.True(round < 4000, $"seed={seed}: some picture never ends");
                while (waiting.Count > 0 && batcher.TryJoin(waiting.Peek(), $"o{random.Next(2)}"))
                {
                    waiting.Dequeue();
                }

                IReadOnlyList<Picture> batch = Evaluate(
                    batcher, picture => !(leaving.Contains(picture) && picture.IsBetweenSteps));
                Assert.True(batch.Select(picture => picture.BatchKey).Distinct().Count() <= 1, $"seed={seed}");
                if (batch.Count > 0 && random.Next(4) == 0)
                {
                    leaving.Add(batch[random.Next(batch.Count)]);
                }

                foreach (Picture picture in leaving.Union(batch).Where(picture => picture.IsBetweenSteps).ToArray())
                {
                    if (picture.IsDone || leaving.Contains(picture))
                    {
                        batcher.Drop(picture);
                        leaving.Remove(picture);
                        if (picture.IsDone)
                        {
                            done++;
                        }
                        else
                        {
                            waiting.Enqueue(picture);
                        }
                    }
                }
            }

            Assert.All(all, picture => Assert.Equal(picture.Needed, picture.Evaluations));
        }
    }

    [Fact]
    public void Keys_TakeTurns()
    {
        var batcher = new StepBatcher<Picture>(3, 8);
        batcher.TryJoin(new Picture("a", 50), "o");
        batcher.TryJoin(new Picture("a", 50), "o");
        var rare = new Picture("b", 50);
        batcher.TryJoin(rare, "o");
        for (int i = 0; i < 10; i++)
        {
            Evaluate(batcher);
        }

        Assert.Equal(5, rare.Evaluations);
    }

    [Fact]
    public void AFullPass_GoesToTheOldest_AndWhatFitsBeside()
    {
        var batcher = new StepBatcher<Picture>(8, 2);
        Picture guided = new("a", 5, rows: 2), plain = new("a", 20), wide = new("a", 5, rows: 2), other = new("a", 20);
        Assert.All([guided, plain, wide, other], picture => Assert.True(batcher.TryJoin(picture, "o")));
        while (!guided.IsDone)
        {
            Assert.Equal([guided], Evaluate(batcher));
        }

        // The wide one does not fit beside it and waits; the one behind it does.
        Assert.Equal([plain, other], Evaluate(batcher));
        batcher.Drop(plain);
        Assert.Equal([wide], Evaluate(batcher));
    }

    [Fact]
    public void Owners_TakeTurns_HoweverManyPicturesOneHas()
    {
        var batcher = new StepBatcher<Picture>(8, 2);
        for (int i = 0; i < 6; i++)
        {
            batcher.TryJoin(new Picture("a", 50, rows: 2), "many");
        }

        Evaluate(batcher);
        var newcomer = new Picture("a", 50, rows: 2);
        batcher.TryJoin(newcomer, "one");
        Assert.Equal([newcomer], Evaluate(batcher));
        for (int i = 0; i < 10; i++)
        {
            Evaluate(batcher);
        }

        Assert.Equal(6, newcomer.Evaluations);
    }

    // As a worker does it.
    private static IReadOnlyList<Picture> Evaluate(
        StepBatcher<Picture> batcher, Func<Picture, bool>? canContinue = null)
    {
        IReadOnlyList<Picture> batch = batcher.Next(canContinue);
        foreach (Picture picture in batch)
        {
            picture.Evaluations++;
        }

        return batch;
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

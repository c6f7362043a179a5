// Goal: a bounded cache never holds more than its bound, never removes what is in use, always makes progress, and
// fetches about as little as the sample order allows. Method: single decisions, and simulated runs over epochs in the
// block order, with files of random sizes, failures and a disk that fills.
using Atelier.Model.Data.Caching;
using Atelier.Training;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Data.Caching;

public sealed class CachePolicyTests
{
    private static readonly CachedFile s_a = File(0), s_b = File(1), s_c = File(2), s_d = File(3);

    [Fact]
    public void ADemandedFile_ReplacesTheOneThatIsUsedLast_AndBeforeItThoseOfNoUse()
    {
        var policy = new CachePolicy(30);
        Array.ForEach([s_a, s_b, s_c], file => policy.Add(file, 10));
        policy.Foresee("reader", [Ahead(s_a, 5), Ahead(s_c, 7)]);
        Assert.Equal([s_b], policy.Demand(s_d, 10));
        policy.Fetched(s_d);
        Assert.Equal([s_d], policy.Demand(s_b, 10)); // Nobody foresees it.
        policy.Fetched(s_b);
        policy.Foresee("other", [Ahead(s_b, 6), Ahead(s_c, 1)]);
        Assert.Equal([s_b], policy.Demand(s_d, 10));
    }

    [Fact]
    public void WithoutForesight_TheLeastRecentlyUsedFileGoes()
    {
        var policy = new CachePolicy(30);
        Array.ForEach([s_a, s_b, s_c], file => policy.Add(file, 10));
        policy.Pin(s_a);
        policy.Unpin(s_a);
        Assert.Equal([s_b], policy.Demand(s_d, 5));
    }

    [Fact]
    public void AFileInUse_OrBeingFetched_Stays_AndTheDemandWaits()
    {
        var policy = new CachePolicy(20);
        policy.Add(s_a, 10);
        policy.Pin(s_a);
        Assert.Empty(policy.Demand(s_b, 10)!);
        Assert.True(policy.IsComing(s_b));
        Assert.Null(policy.Demand(s_c, 10));
        Assert.Equal((20, false), (policy.Bytes, policy.IsComing(s_c)));
        policy.Fetched(s_b);
        Assert.Equal([s_b], policy.Demand(s_c, 10));
        policy.Unpin(s_a);
        Assert.Equal([s_a], policy.Demand(s_d, 10));
    }

    [Fact]
    public void InAdvance_TheNearestFileIsFetched_AndOnlyWhatIsUsedAfterItIsRemoved()
    {
        var policy = new CachePolicy(20);
        policy.Add(s_a, 10);
        policy.Add(s_b, 10);
        policy.Foresee("reader", [Ahead(s_a, 0), Ahead(s_b, 2), Ahead(s_c, 5)]);
        Assert.Null(policy.Advance());
        policy.Foresee("reader", [Ahead(s_a, 0), Ahead(s_c, 4), Ahead(s_d, 5), Ahead(s_b, 6)]);
        (CachedFile file, IReadOnlyList<CachedFile> removed) = policy.Advance()!.Value;
        Assert.Equal((s_c, s_b), (file, Assert.Single(removed)));
        Assert.Null(policy.Advance()); // s_a is needed before s_d.
        policy.Forget("reader");
        Assert.Null(policy.Advance());
    }

    [Fact]
    public void AFileThatFailed_IsNotFetchedInAdvance_UntilItWasDemanded()
    {
        var policy = new CachePolicy(100);
        policy.Foresee("reader", [Ahead(s_a, 0), Ahead(s_b, 1), Ahead(s_c, 2)]);
        Assert.Equal(s_a, policy.Advance()!.Value.File);
        Assert.Equal(s_b, policy.Advance()!.Value.File);
        Assert.Null(policy.Advance()); // Two at a time.
        policy.Failed(s_a);
        Assert.Equal(s_c, policy.Advance()!.Value.File);
        policy.Fetched(s_c);
        Assert.Null(policy.Advance());
        Assert.Empty(policy.Demand(s_a, 10)!);
        policy.Fetched(s_a);
        policy.Remove(s_a);
        Assert.Equal(s_a, policy.Advance()!.Value.File);
    }

    [Fact]
    public void AFullDisk_LowersTheBound_UntilItIsRestored()
    {
        var policy = new CachePolicy(100);
        policy.Add(s_a, 10);
        policy.Add(s_b, 20);
        Assert.Empty(policy.Demand(s_c, 30)!);
        policy.DiskIsFull(s_c);
        Assert.Equal((30, 30), (policy.Bytes, policy.BytesMax));
        Assert.Equal([s_a, s_b], policy.Demand(s_c, 30));
        policy.DiskIsFull(s_c);
        Assert.Equal(0, policy.BytesMax);
        Assert.Null(policy.Demand(s_c, 30));
        policy.RestoreBytesMax();
        Assert.Empty(policy.Demand(s_c, 30)!);
    }

    // A reader demands the file of each sample; fetches end in a random order, and some fail.
    [Fact]
    public void WhateverHappens_TheBoundHolds_AndTheReaderGetsEveryFile() =>
        Gen.Select(Gen.Int[1, 400], Gen.Int[1, 40].Array[1, 12], Gen.Int[0, 60], Gen.Int[1, 1 << 20]).Sample(
            (samples, sizes, spare, seed) =>
            {
                long bound = sizes.Max() + spare;
                var simulation = new Simulation(
                    new CachePolicy(bound), samples, sizes, new Random(seed), failures: 0.2);
                simulation.Run(epochs: 2);
                Assert.InRange(simulation.BytesMax, 1, bound);
            },
            iter: 200);

    // Half of the data fits.
    [Fact]
    public void HalfOfTheData_IsEnoughToReadEachFileAboutOnceAnEpoch_AndSeldomToWait()
    {
        int[] sizes = [.. Enumerable.Repeat(10, 64)];
        var simulation = new Simulation(
            new CachePolicy(sizes.Sum() / 2), 64 * 64, sizes, new Random(1), failures: 0);
        simulation.Run(epochs: 10);
        Assert.InRange(simulation.Fetches, 320, 640); // Half of an epoch's files may remain from the one before.
        Assert.InRange(simulation.Waits, 1, 64);
    }

    private static CachedFile File(int i) => new("set", $"{i}");

    private static FileAhead Ahead(CachedFile file, long distance) => new(file, 10, distance);

    private sealed class Simulation(CachePolicy policy, int samples, int[] sizes, Random random, double failures)
    {
        private readonly List<CachedFile> _coming = [];

        public int Fetches { get; private set; }

        public int Waits { get; private set; }

        public long BytesMax { get; private set; }

        private int Window => 2 * BlockOrder.WindowSamples(samples);

        public void Run(int epochs)
        {
            int[] order = [.. Enumerable.Range(0, epochs).SelectMany(epoch => BlockOrder.Epoch(3, epoch, samples))];
            for (int at = 0; at < order.Length; at++)
            {
                if (at % 8 == 0)
                {
                    policy.Foresee("reader", order.Skip(at).Take(Window).Select((sample, i) => (FileOf(sample), i))
                        .DistinctBy(pair => pair.Item1)
                        .Select(pair => new FileAhead(File(pair.Item1), sizes[pair.Item1], pair.i)));
                }

                Read(FileOf(order[at]));
            }
        }

        private int FileOf(int sample) => (int)((long)sample * sizes.Length / samples);

        private void Read(int index)
        {
            CachedFile file = File(index);
            Advance();
            if (random.Next(2) == 0)
            {
                FetchOne();
            }

            for (int rounds = 0; !policy.IsHere(file); rounds++)
            {
                Assert.InRange(rounds, 0, 1000);
                Waits += rounds == 0 ? 1 : 0;
                if (!policy.IsComing(file) && policy.Demand(file, sizes[index]) is not null)
                {
                    Begin(file);
                }

                FetchOne();
                Advance();
            }

            policy.Pin(file);
            Advance();
            Assert.True(policy.IsHere(file));
            policy.Unpin(file);
        }

        private void Advance()
        {
            while (policy.Advance() is { } next)
            {
                Begin(next.File);
            }
        }

        private void Begin(CachedFile file)
        {
            _coming.Add(file);
            BytesMax = Math.Max(BytesMax, policy.Bytes);
            Fetches++;
        }

        private void FetchOne()
        {
            if (_coming.Count == 0)
            {
                return;
            }

            CachedFile file = _coming[random.Next(_coming.Count)];
            _coming.Remove(file);
            if (random.NextDouble() < failures)
            {
                policy.Failed(file);
            }
            else
            {
                policy.Fetched(file);
            }
        }
    }
}

// Goal: what a run draws depends on its seed and a sample's position alone, and every epoch contains every sample once.
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Verify;
using Atelier.Model.Training;
using Atelier.Training;
using CsCheck;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Training;

public sealed class SeededShardsTests
{
    private const int Positions = 48;

    [Fact]
    public void EveryEpoch_HoldsEverySampleOnce_InAnOrderOfItsOwn()
    {
        Gen.Select(Gen.ULong, Gen.Int[1, 60], Gen.Long[0, 1L << 40], Gen.Int[1, 2]).Sample(
            (seed, count, epoch, version) => Epoch(SeededShards.Order(seed, count, version), epoch, count).Order()
                .SequenceEqual(Enumerable.Range(0, count)));
        string[] epochs =
        [
            .. new[] { 1, 2 }.Select(version => SeededShards.Order(1, 20, version)).SelectMany(run =>
                Enumerable.Range(0, 10).Select(epoch => string.Join(' ', Epoch(run, epoch, 20)))),
        ];
        Assert.Equal(20, epochs.Distinct().Count());

        static IEnumerable<int> Epoch(SampleOrder order, long epoch, int count) =>
            Enumerable.Range(0, count).Select(i => order[(epoch * count) + i]);
    }

    [Fact]
    public void Positions_AskedInAnyOrder_GiveTheSameSamples() =>
        Gen.Select(Gen.ULong, Gen.Int[1, 20], Gen.Long[0, 200].Array[1, 30]).Sample((seed, count, positions) =>
        {
            var asked = SeededShards.Order(seed, count);
            return positions.All(position => asked[position] == SeededShards.Order(seed, count)[position]);
        });

    [Fact]
    public void Mixture_HasItsPartsInEveryEpoch_AndTheSamplesAheadAreForeseen()
    {
        var data = new MixedData(StreamMix.Of(
            [4, 9], [new StreamShare(StreamShareKind.Repeat, 2), new StreamShare(StreamShareKind.Choose, 4)]));
        TrainingSettings settings = ToyRun.Settings with { Shards = 2, Microbatch = 6 };
        var shards = new SeededShards(data, settings, SmallNetworks.Tiny, 1, 0);
        for (int epoch = 0; epoch < 4; epoch++)
        {
            int[] samples = [.. Enumerable.Range(0, 2).SelectMany(shard =>
            {
                using ShardBatch batch = shards.Read(epoch, shard);
                return batch.Samples;
            })];
            Assert.Equal(new[] { 0, 0, 1, 1, 2, 2, 3, 3 }, samples.Where(sample => sample < 4).Order());
            Assert.Equal(4, samples.Where(sample => sample >= 4).Distinct().Count());
            Assert.Equal(samples, data.Foreseen[epoch].Take(12));
        }

        Assert.Equal(4, data.Foreseen.Count);
    }

    [Fact]
    public void ShardsAndMicrobatches_DoNotChangeWhatASampleDraws()
    {
        using var scope = NewDisposeScope();
        string[] one = Draws(shards: 8, microbatch: 1);
        Assert.Equal(Positions, one.Distinct().Count());
        Assert.Equal(one, Draws(shards: 4, microbatch: 2));
        Assert.Equal(one, Draws(shards: 1, microbatch: 8));
        Assert.Equal(one, Draws(shards: 2, microbatch: 12));
        Assert.NotEqual(one, Draws(shards: 8, microbatch: 1, seed: 2));
    }

    [Fact]
    public void ReadingAgain_AndOutOfOrder_GivesTheSameBits()
    {
        using var scope = NewDisposeScope();
        SeededShards shards = ToyRun.Shards(ToyRun.Settings);
        string[] forward = [.. Enumerable.Range(0, 24).SelectMany(i => Rows(shards.Read(i / 8, i % 8)))];
        string[][] backward = [.. Enumerable.Range(0, 24).Select(i => Rows(shards.Read((23 - i) / 8, (23 - i) % 8)))];
        Assert.Equal(forward, backward.Reverse().SelectMany(rows => rows));
    }

    [Fact]
    public void Captions_AreDroppedAboutAsOftenAsAsked_WithTheLatentLeftAlone()
    {
        using var scope = NewDisposeScope();
        var settings = new TrainingSettings { Microbatch = 400 };
        var data = new ToyData(400, SmallNetworks.Tiny);
        ShardBatch none = new SeededShards(data, settings, SmallNetworks.Tiny, 1, 0).Read(0, 0);
        ShardBatch some = new SeededShards(data, settings, SmallNetworks.Tiny, 1, 0.25).Read(0, 0);
        Assert.Equal(0, (none.Captions == 0).all(2).all(1).sum().item<long>());
        // 100 +- 4.6 standard deviations
        Assert.InRange((some.Captions == 0).all(2).all(1).sum().item<long>(), 60, 140);
        Assert.Equal(FormulaCase.Bits(none.Latents), FormulaCase.Bits(some.Latents));
        Assert.Equal(FormulaCase.Bits(none.UnitNoise), FormulaCase.Bits(some.UnitNoise));
        Assert.Null(none.Mask);
    }

    [Fact]
    public void NonFiniteSample_IsLeftOut_AndTheOthersAreUnchanged()
    {
        using var scope = NewDisposeScope();
        TrainingSettings settings = ToyRun.Settings with { Shards = 4, Microbatch = 13 };
        var sound = new ToyData(13, SmallNetworks.Tiny);
        foreach (float value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            foreach (bool isCaption in new[] { false, true })
            {
                // Whether a caption is dropped must not decide whether its sample counts.
                var data = new Runs.ToyStage.SpoiledData(sound, sample => sample == 5 ? value : null, isCaption);
                var (clean, spoiled) = (Source(sound), Source(data));
                for (int shard = 0; shard < settings.Shards; shard++)
                {
                    (ShardBatch all, ShardBatch rest) = (clean.Read(0, shard), spoiled.Read(0, shard));
                    int place = all.Samples.ToList().IndexOf(5);
                    BadSample bad = Assert.Single(rest.LeftOut); // A shard is an epoch, so it holds every sample once.
                    Assert.Equal((5, isCaption ? "caption_latents" : "latents"), (bad.Sample, bad.Column));
                    Assert.Equal(Finite.Name(value), bad.Value);
                    Assert.Empty(all.LeftOut);
                    Assert.Equal(Rows(all).Where((_, i) => i != place), Rows(rest));
                    Assert.Equal(all.Samples.Where(sample => sample != 5), rest.Samples);
                }
            }
        }

        SeededShards Source(ITrainingData data) => new(data, settings, SmallNetworks.Tiny, 1, captionDrop: 0.5);
    }

    [Fact]
    public void NoiseLevels_AreLogNormalAsTheSettingsSay()
    {
        using var scope = NewDisposeScope();
        var settings = new TrainingSettings { Microbatch = 4000, Edm = new() { PMean = -0.6, PStd = 1.2 } };
        double[] logs =
        [
            .. new SeededShards(new ToyData(13, SmallNetworks.Tiny), settings, SmallNetworks.Tiny, 1, 0)
                .Read(0, 0).NoiseLevels.Select(level => Math.Log(level)),
        ];
        double mean = logs.Average(), std = Math.Sqrt(logs.Average(v => (v - mean) * (v - mean)));
        Assert.InRange(mean, -0.6 - (5 * 1.2 / Math.Sqrt(4000)), -0.6 + (5 * 1.2 / Math.Sqrt(4000)));
        Assert.InRange(std, 1.2 * (1 - (5 / Math.Sqrt(8000))), 1.2 * (1 + (5 / Math.Sqrt(8000))));
    }

    [Fact]
    public void DataThatDoesNotFit_IsRefusedInASentence()
    {
        MicroDiTConfig network = SmallNetworks.Tiny;
        var settings = new TrainingSettings();
        (Func<object> Bad, string Word)[] rows =
        [
            (() => Make(network with { InputSize = 16 }), "latents of 4 x 16 x 16; the network takes 4 x 8 x 8"),
            (() => Make(network with { InChannels = 3 }), "latents of 3 x 8 x 8"),
            (() => Make(network with { CaptionChannels = 7 }), "captions of 7 features; the network takes 24"),
            (() => Make(network, captionDrop: 1), "must be in [0, 1)"),
            (() => Make(network, captionDrop: -0.1), "must be in [0, 1)"),
            (() => Make(network, captionDrop: double.NaN), "must be in [0, 1)"),
            (() => Make(network, count: 0), "A run needs samples"),
            (() => SeededShards.Order(1, -1), "A run needs samples"),
            (() => SeededShards.Order(1, 5, 3), "There is no such sample order"),
        ];
        Assert.All(rows, row => Assert.Contains(row.Word, Assert.ThrowsAny<ArgumentException>(row.Bad).Message));
        Assert.Throws<ArgumentOutOfRangeException>(() => SeededShards.Order(1, 5)[-1]);

        SeededShards Make(MicroDiTConfig data, int count = 1, double captionDrop = 0) =>
            new(new ToyData(count, data), settings, network, 1, captionDrop);
    }

    private sealed class MixedData(StreamMix mix) : ITrainingData
    {
        private readonly ToyData _toy = new(13, SmallNetworks.Tiny);

        public List<int[]> Foreseen { get; } = [];

        public StreamMix Mix => mix;

        public int Count => _toy.Count;

        public (int Channels, int Height, int Width) LatentShape => _toy.LatentShape;

        public (int Length, int Channels) CaptionShape => _toy.CaptionShape;

        public void Foresee(IEnumerable<int> samples) => Foreseen.Add([.. samples]);

        public void Read(int sample, Span<float> latent, Span<float> caption) => _toy.Read(sample, latent, caption);
    }

    // What was drawn at each position of the run, one text per sample.
    private static string[] Draws(int shards, int microbatch, ulong seed = 1)
    {
        TrainingSettings settings = ToyRun.Settings with { Shards = shards, Microbatch = microbatch };
        SeededShards source = ToyRun.Shards(settings, seed);
        return
        [
            .. from step in Enumerable.Range(0, Positions / settings.GlobalBatch)
               from shard in Enumerable.Range(0, shards)
               from row in Rows(source.Read(step, shard))
               select row,
        ];
    }

    private static string[] Rows(ShardBatch batch) =>
    [
        .. Enumerable.Range(0, batch.NoiseLevels.Length).Select(i => string.Join(' ', new[]
        {
            Hex(batch.Latents[i]), Hex(batch.Captions[i]), Hex(batch.UnitNoise[i]), $"{batch.NoiseLevels[i]:r}",
            Hex(batch.Mask!.Keep[i]), Hex(batch.Mask.Masked[i]),
        })),
    ];

    private static string Hex(Tensor row) => Convert.ToHexString(FormulaCase.Bits(row));
}

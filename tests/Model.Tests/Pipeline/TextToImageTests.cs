// Goal: the same request gives the same picture, byte for byte, alone and in a batch, in one run and resumed on another
// worker halfway. Method: whole pipelines, prompt to pixels.
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Networks;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Pipeline;

public sealed class TextToImageTests
{
    private static readonly GenerationRequest s_request = new()
    {
        Prompt = "a red square over a blue circle", Seed = 5, Size = 32, Sampler = new() { Steps = 3, Guidance = 5 },
    };

    // Other pictures in the batch that differ in everything: steps, guidance, a guidance interval, churn, a negative
    // prompt, or none of them.
    private static readonly GenerationRequest[] s_company =
    [
        s_request with { Prompt = "blue", Seed = 0, Sampler = new() { Steps = 4 } },
        s_request with
        {
            Seed = 6, Negative = "red", Sampler = new() { Steps = 2, Guidance = 9, GuidanceHigh = 9, SChurn = 10 },
        },
        s_request with { Prompt = "red", Seed = ulong.MaxValue, Sampler = new() { Steps = 1 } },
    ];

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 2)]
    [InlineData(false, 4)]
    [InlineData(false, 8)]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    [InlineData(true, 4)]
    [InlineData(true, 8)]
    public void APicturesBytes_DoNotDependOnTheRestOfTheBatch(bool realistic, int width)
    {
        MicroDiTConfig config = realistic
            ? SmallNetworks.Realistic
            : SmallNetworks.Tiny with { InputSize = 16 };
        using TextToImage pipeline = TinyPipeline.Create(config, width);
        byte[] alone = Assert.Single(Pictures(pipeline, s_request));
        Assert.True(alone.Distinct().Count() > 50, "a picture of few colours proves little");
        byte[][] four = Pictures(pipeline, [s_request, .. s_company]);
        Assert.Equal(alone, four[0]);
        Assert.Equal(4, four.Select(Convert.ToHexString).Distinct().Count());
        Assert.Equal(alone, Pictures(pipeline, s_company[0], s_request, s_company[1])[1]);
        Assert.Equal(alone, Pictures(pipeline, s_request)[0]);
    }

    [Fact]
    public void StoppedAfterAnyEvaluation_AndResumedByAnotherWorkerInAnotherBatch_ItEndsInTheSameNumbers()
    {
        using var scope = NewDisposeScope();
        MicroDiTConfig config = SmallNetworks.Tiny;
        using TextToImage first = TinyPipeline.Create(config, width: 2), second = TinyPipeline.Create(config, width: 2);
        var sampler = new HeunSampler(new SamplerSettings { Steps = 3, Guidance = 4, GuidanceHigh = 20 });
        SamplerState start = sampler.Start(SmallNetworks.Normal(1, first.LatentLength));
        SamplerState other = sampler.Start(SmallNetworks.Normal(2, first.LatentLength));
        (CaptionContext prompt, CaptionContext negative) = Captions(first);
        double[] straight = Sample(first, (sampler, start, prompt, negative))[0];

        using MicroDiT network = SmallNetworks.Filled(config);
        using var denoiser = new Denoiser(network, new Edm(), width: 2);
        SamplerState state = start;
        (prompt, negative) = Captions(second);
        while (!sampler.IsDone(state))
        {
            SamplerState snapshot = SamplerState.FromBytes(state.ToBytes());
            double[][] ends = Sample(second, (sampler, other, negative, prompt), (sampler, snapshot, prompt, negative));
            Assert.Equal(straight, ends[1]);
            var request = new DenoiserRequest(sampler.Next(state), prompt, negative);
            state = sampler.Advance(state, denoiser.Evaluate([request])[0]);
        }

        static (CaptionContext Prompt, CaptionContext Negative) Captions(TextToImage pipeline)
        {
            using Tensor some = pipeline.Encode("blue"), none = pipeline.Encode("");
            return (pipeline.Condition(some), pipeline.Condition(none));
        }
    }

    [Fact]
    public void Generate_ReportsItsProgressUpToOne_AndKeepsNoTensors()
    {
        using TextToImage pipeline = TinyPipeline.Create(SmallNetworks.Tiny, width: 1);
        Pictures(pipeline, s_request);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        List<double> progress = [];
        pipeline.Generate([s_request, .. s_company], progress.Add, TestContext.Current.CancellationToken);
        Assert.Equal(progress.Order(), progress);
        Assert.Equal(1, progress[^1]);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Generate_StopsBetweenEvaluations_WhenItIsCancelled_AndKeepsNoTensors()
    {
        using TextToImage pipeline = TinyPipeline.Create(SmallNetworks.Tiny, width: 1);
        byte[] whole = Pictures(pipeline, s_request)[0];
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using var stop = new CancellationTokenSource();
        int progress = 0;
        Assert.Throws<OperationCanceledException>(() => pipeline.Generate([s_request], _ =>
        {
            progress++;
            stop.Cancel();
        }, stop.Token));
        Assert.Equal(1, progress);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        Assert.Equal(whole, Pictures(pipeline, s_request)[0]);
    }

    [Fact]
    public void TheEmptyText_IsTheEmptyCaptionOfTraining()
    {
        using TextToImage pipeline = TinyPipeline.Create(SmallNetworks.Tiny, width: 1);
        using Tensor empty = pipeline.Encode(""), text = pipeline.Encode("red");
        Assert.Equal([1, 77, 24], empty.shape);
        Assert.Equal([1, 77, 24], text.shape);
        Assert.All(SmallNetworks.Floats(empty), v => Assert.Equal(0, v));
    }

    [Fact]
    public void ReferenceNoise_IsTorchs_AndSeedZeroItsDefaultSeed()
    {
        using TextToImage pipeline = TinyPipeline.Create(SmallNetworks.Tiny, width: 1);
        byte[] zero = Bytes(0), fixedSeed = Bytes(67280421310721), one = Bytes(1);
        Assert.Equal(zero, fixedSeed);
        Assert.NotEqual(zero, one);
        Assert.NotEqual(one, Pictures(pipeline, s_request with { Seed = 1 })[0]);

        byte[] Bytes(ulong seed) => Pictures(pipeline, s_request with { Seed = seed, Noise = StartNoise.Reference })[0];
    }

    [Fact]
    public void Requests_ThatCannotBeFulfilled_AreRefusedInASentence()
    {
        (GenerationRequest Bad, string Word)[] rows =
        [
            (s_request with { Prompt = " \n" }, "The prompt is empty"),
            (
                s_request with { Prompt = new string('x', 32_001) },
                "32001 characters, counted as Unicode code points; it may have at most 32000"),
            (s_request with { Negative = new string('x', 32_001) }, "The negative prompt has 32001 characters"),
            (s_request with { Prompt = "half a face \uD83D" }, "surrogate is at position 12"),
            (s_request with { Prompt = "\uDE00\uD83D" }, "surrogate is at position 0"),
            (s_request with { Size = 512 }, "pictures of 32x32, not of 512x512"),
            (s_request with { Sampler = new() { Steps = 0 } }, "Steps must be in"),
        ];
        Assert.All(rows, row =>
            Assert.Contains(row.Word, Assert.Throws<ArgumentException>(() => row.Bad.Checked(32)).Message));
        GenerationRequest good = s_request with { Prompt = "a \uD83D\uDE00" };
        Assert.Same(good, good.Checked(32));
    }

    private static byte[][] Pictures(TextToImage pipeline, params GenerationRequest[] requests) =>
        [
            .. pipeline.Generate(requests, cancellation: TestContext.Current.CancellationToken).Select(
                image => image.Pixels),
        ];

    private static double[][] Sample(
        TextToImage pipeline, params (HeunSampler, SamplerState, CaptionContext, CaptionContext)[] pictures) =>
        pipeline.Sample(pictures, cancellation: TestContext.Current.CancellationToken);
}

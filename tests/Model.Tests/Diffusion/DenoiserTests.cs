// Goal: a picture's evaluation has the same bits alone and in any batch, at any position in it, for every width of the
// forward pass. Method: requests of different noise levels, guidance and captions, in many arrangements.
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Diffusion;

public sealed class DenoiserTests
{
    // Odd sizes leave remainders in every blocked kernel: 36 tokens, 9 of them per expert, heads of 12.
    private static readonly MicroDiTConfig s_odd = SmallNetworks.Tiny with
    {
        InputSize = 12,
        Dim = 60,
        HeadDim = 12,
        PatchMixerDim = 36,
        NumExperts = 8,
        MultipleOf = 7,
    };

    private static readonly int[][] s_companies = [[0, 1, 2, 3], [1, 0, 2], [4, 3, 2, 1, 0], [0, 4, 0]];

    // Threads split a tensor's numbers among them, and neither 3 nor 5 divides a picture evenly.
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    public void ARequestsBits_DoNotDependOnTheRestOfTheBatch_OnAnyNumberOfThreads(int threads)
    {
        int before = get_num_threads();
        set_num_threads(threads);
        try
        {
            ARequestsBits_DoNotDependOnTheRestOfTheBatch("odd", 4);
            ARequestsBits_DoNotDependOnTheRestOfTheBatch("realistic", 4);
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Theory]
    [InlineData("tiny", 1)]
    [InlineData("tiny", 2)]
    [InlineData("tiny", 4)]
    [InlineData("tiny", 8)]
    [InlineData("odd", 1)]
    [InlineData("odd", 2)]
    [InlineData("odd", 4)]
    [InlineData("odd", 8)]
    [InlineData("realistic", 1)]
    [InlineData("realistic", 2)]
    [InlineData("realistic", 4)]
    [InlineData("realistic", 8)]
    public void ARequestsBits_DoNotDependOnTheRestOfTheBatch(string size, int width)
    {
        using var scope = NewDisposeScope();
        using MicroDiT network = Network(size);
        using var denoiser = new Denoiser(network, new Edm(), width);
        DenoiserRequest[] requests = Requests(network);
        double[][] alone = [.. requests.Select(request => denoiser.Evaluate([request])[0])];
        Assert.All(alone, answer =>
            Assert.True(answer.All(double.IsFinite) && answer.Distinct().Count() > answer.Length / 2));
        foreach (int[] company in s_companies)
        {
            double[][] together = denoiser.Evaluate([.. company.Select(i => requests[i])]);
            Assert.All(company.Index(), place => Assert.Equal(alone[place.Item], together[place.Index]));
        }
    }

    [Fact]
    public void Answers_AreThoseOfTheNetwork_GuidedByHand()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode();
        using MicroDiT network = Network("tiny");
        var edm = new Edm();
        using var denoiser = new Denoiser(network, edm, width: 4);
        DenoiserRequest request = Requests(network)[2];
        Evaluation(request, request.Prompt, out float[] prompt);
        Evaluation(request, request.Negative, out float[] negative);
        double[] expected = [.. prompt.Zip(negative, (p, n) => n + (request.Evaluation.Guidance * ((double)p - n)))];
        double[] actual = denoiser.Evaluate([request])[0];
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-4));

        void Evaluation(DenoiserRequest asked, CaptionContext caption, out float[] answer)
        {
            Tensor x = tensor(asked.Evaluation.X.Select(v => (float)v).ToArray(), [1, 4, 8, 8]);
            answer = SmallNetworks.Floats(edm.Denoise(network, x, [asked.Evaluation.Sigma], caption));
        }
    }

    [Fact]
    public void ManyBatches_LeaveNoTensorsBehind()
    {
        using var scope = NewDisposeScope();
        using MicroDiT network = Network("tiny");
        DenoiserRequest[] requests = Requests(network);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (var denoiser = new Denoiser(network, new Edm(), width: 4))
        {
            foreach (int[] company in s_companies)
            {
                denoiser.Evaluate([.. company.Select(i => requests[i])]);
            }

            Assert.Empty(denoiser.Evaluate([]));
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void AnswerThatIsNotFinite_IsRefused_AndNamesItsPart()
    {
        using var scope = NewDisposeScope();
        using MicroDiT network = Network("tiny");
        using var denoiser = new Denoiser(network, new Edm(), 2);
        DenoiserRequest[] requests = Requests(network);
        using (no_grad())
        {
            network.parameters().Last().fill_(float.NaN);
        }

        var error = Assert.Throws<NonFiniteException>(() => denoiser.Evaluate(requests));
        Assert.Contains(ModelParts.Denoiser, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void InputThatDoesNotFit_IsRefused()
    {
        using var scope = NewDisposeScope();
        using MicroDiT network = Network("tiny");
        Assert.Throws<ArgumentOutOfRangeException>(() => new Denoiser(network, new Edm(), width: 0));
        using var denoiser = new Denoiser(network, new Edm(), width: 2);
        DenoiserRequest request = Requests(network)[0];
        var error = Assert.Throws<ArgumentException>(() => denoiser.Evaluate(
            [request with { Evaluation = request.Evaluation with { X = new double[255] } }]));
        Assert.Contains("255 numbers; this network's latents have 256", error.Message);
    }

    private static MicroDiT Network(string size) => SmallNetworks.Filled(size switch
    {
        "tiny" => SmallNetworks.Tiny,
        "odd" => s_odd,
        _ => SmallNetworks.Realistic,
    });

    // Five pictures at different noise levels, with and without guidance, two of them with the same caption.
    private static DenoiserRequest[] Requests(MicroDiT network)
    {
        using var inference = inference_mode();
        MicroDiTConfig config = network.Config;
        int length = config.InChannels * config.InputSize * config.InputSize;
        long[] shape = [1, 11, config.CaptionChannels];
        CaptionContext[] captions =
            [.. Enumerable.Range(0, 4).Select(i => network.Caption(SmallNetworks.Normal((ulong)i, shape)))];
        CaptionContext empty = network.Caption(zeros(shape));
        double[] sigmas = [80, 1.7, 0.4, 0.002, 1.7], guidance = [1, 5, 2.5, 1, 7.5];
        return
        [
            .. sigmas.Select((sigma, i) => new DenoiserRequest(
                new(
                    [.. SmallNetworks.Normal((ulong)(20 + i), length).Select(v => v * (sigma + 0.5))], sigma,
                    guidance[i]),
                captions[i % 4], i == 2 ? captions[3] : empty)),
        ];
    }
}

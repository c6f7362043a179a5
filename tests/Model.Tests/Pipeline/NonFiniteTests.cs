// Goal: no part passes on NaN or infinities, and the part that produced them is named. Method: small pipelines in which
// one part is spoiled, by NaN or by finite weights that overflow.
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Networks;
using TorchSharp;
using Xunit;

namespace Atelier.Model.Tests.Pipeline;

public sealed class NonFiniteTests
{
    // The largest float16; squared and summed a few times it overflows float32 too.
    private const float Large = 65504, Huge = 1e30f;

    private static readonly GenerationRequest s_request = new()
    {
        Prompt = "red", Seed = 5, Size = 16, Sampler = new() { Steps = 2, Guidance = 5 },
    };

    [Theory]
    [InlineData(ModelParts.TextEncoder, float.NaN)]
    [InlineData(ModelParts.Denoiser, float.NaN)]
    [InlineData(ModelParts.Decoder, float.NaN)]
    [InlineData(ModelParts.TextEncoder, Huge)]
    [InlineData(ModelParts.Denoiser, Huge)]
    [InlineData(ModelParts.Decoder, Huge)]
    public void Generate_WithAPartThatReturnsNaN_NamesIt_AndKeepsNoTensors(string part, float value)
    {
        using TextToImage pipeline = TinyPipeline.Create(SmallNetworks.Tiny, width: 2, part, value);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        var error = Assert.Throws<NonFiniteException>(
            () => pipeline.Generate([s_request], cancellation: TestContext.Current.CancellationToken));
        Assert.Equal(part, error.Part);
        Assert.StartsWith($"The {part} gave ", error.Message, StringComparison.Ordinal);
        // The denoiser caches the captions that it joined last.
        Assert.InRange(DisposeScopeManager.Statistics.ThreadTotalLiveCount - before, 0, 64);
    }

    [Fact]
    public void Decode_OfALatentBeyondFloat32_BlamesTheDenoiser()
    {
        using TextToImage pipeline = TinyPipeline.Create(SmallNetworks.Tiny, width: 1);
        var latent = new double[pipeline.LatentLength];
        pipeline.Decode(latent);
        latent[3] = 1e300;
        Assert.Equal(ModelParts.Denoiser, Assert.Throws<NonFiniteException>(() => pipeline.Decode(latent)).Part);
    }

    [Theory]
    [InlineData(null, 0)]
    [InlineData(ModelParts.TextEncoder, Huge)]
    [InlineData(ModelParts.Denoiser, Huge)]
    [InlineData(ModelParts.Decoder, Huge)]
    [InlineData(ModelParts.PictureEncoder, Huge)]
    [InlineData(ModelParts.Decoder, float.NaN)]
    public void Probe_FindsThePartThatOverflowsInUse_AndNoOther(string? part, float value)
    {
        (ClipTextEncoder text, MicroDiT network, AutoencoderKL autoencoder) =
            TinyPipeline.Networks(SmallNetworks.Tiny, part, value);
        using (text)
        using (network)
        using (autoencoder)
        {
            long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
            IReadOnlyList<NonFiniteException> faults = ModelProbe.Run(
                TinyPipeline.Tokenizer(), text, network, new Edm(), autoencoder, TestContext.Current.CancellationToken);
            Assert.Equal(part is null ? [] : [part], faults.Select(fault => fault.Part));
            Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        }
    }

    // As many convolutions as a published decoder has turn the largest float16 into a number that float32 cannot hold.
    [Fact]
    public void Probe_FindsConvolutionsAtTheLargestFloat16_InADecoderOfManyLevels()
    {
        AutoencoderConfig config = TinyPipeline.Autoencoder with { BlockOutChannels = [8, 8, 16, 16] };
        (ClipTextEncoder text, MicroDiT network, AutoencoderKL small) =
            TinyPipeline.Networks(SmallNetworks.Tiny, null, 0);
        using var autoencoder = new AutoencoderKL(config);
        Atelier.Cli.Verify.FormulaWeights.Fill(autoencoder, "vae/");
        using (text)
        using (network)
        using (small)
        {
            Assert.Empty(Run());
            using (torch.no_grad())
            {
                foreach ((string name, TorchSharp.Modules.Parameter parameter) in autoencoder.named_parameters())
                {
                    if (name.StartsWith("decoder.", StringComparison.Ordinal) && parameter.dim() == 4)
                    {
                        parameter.fill_(Large);
                    }
                }
            }

            Assert.Equal([ModelParts.Decoder], Run().Select(fault => fault.Part));
        }

        IReadOnlyList<NonFiniteException> Run() => ModelProbe.Run(
            TinyPipeline.Tokenizer(), text, network, new Edm(), autoencoder, TestContext.Current.CancellationToken);
    }
}

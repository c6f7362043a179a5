// Goal: the preconditioning has the properties that define it (arXiv 2206.00364, Appendix B.6), and the denoiser of a
// batch is its formula, picture by picture, whatever the noise levels in the batch.
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Diffusion;

public sealed class EdmTests
{
    [Theory]
    [InlineData(0.002, 0.9)]
    [InlineData(0.3, 0.9)]
    [InlineData(1.7, 0.5)]
    [InlineData(80, 1)]
    public void InputTargetAndWeightedLoss_HaveUnitVariance_AndErrorsOfTheNetworkCountTheLeast(
        double sigma, double data)
    {
        var edm = new Edm { SigmaData = data };
        Preconditioning c = edm.At(sigma);
        double dataVariance = data * data, noiseVariance = sigma * sigma;
        Assert.Equal(1, c.In * c.In * (noiseVariance + dataVariance), 1e-12);
        double target = ((1 - c.Skip) * (1 - c.Skip) * dataVariance) + (c.Skip * c.Skip * noiseVariance);
        Assert.Equal(1, target / (c.Out * c.Out), 1e-12);
        Assert.Equal((1 - c.Skip) * dataVariance, c.Skip * noiseVariance, 1e-12); // The smallest c_out.
        Assert.Equal(1, edm.LossWeight(sigma) * c.Out * c.Out, 1e-12);
        Assert.Equal(Math.Log(sigma) / 4, c.Noise, 1e-12);
    }

    [Fact]
    public void NoiseLevels_AreLogNormal()
    {
        var edm = new Edm { PMean = -0.6, PStd = 1.2 };
        Assert.Equal(Math.Exp(-0.6), edm.NoiseLevel(0), 1e-12);
        Assert.Equal(Math.Exp(-0.6 + (1.2 * 1.5)), edm.NoiseLevel(1.5), 1e-12);
    }

    [Fact]
    public void ABatch_IsDenoisedByTheFormula_PictureByPicture()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode();
        using MicroDiT network = SmallNetworks.Filled(SmallNetworks.Tiny);
        var edm = new Edm();
        double[] sigmas = [20, 0.7, 0.05];
        Tensor x = SmallNetworks.Normal(1, [3, 4, 8, 8]) * 2;
        Tensor captions = SmallNetworks.Normal(2, [3, 11, network.Config.CaptionChannels]);
        float[] together = SmallNetworks.Floats(edm.Denoise(network, x, sigmas, network.Caption(captions)));
        for (int i = 0; i < sigmas.Length; i++)
        {
            Preconditioning c = edm.At(sigmas[i]);
            Tensor own = x.narrow(0, i, 1);
            Tensor f = network.Predict(
                own * c.In, tensor([(float)c.Noise]), network.Caption(captions.narrow(0, i, 1)), mask: null);
            float[] expected = SmallNetworks.Floats((own * c.Skip) + (f * c.Out));
            Assert.All(
                expected.Zip(together.Skip(i * expected.Length)),
                pair => Assert.Equal(pair.First, pair.Second, 1e-4 * Math.Max(1, Math.Abs(pair.First))));
        }
    }
}

using Atelier.Cli.Verify;
using Atelier.Model.Evaluation;
using Atelier.Model.Tests.Verify;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Evaluation;

public sealed class FidInceptionTests
{
    private const string FirstPool = "Conv2d_2b_3x3";
    private const string SecondPool = "Conv2d_4a_3x3";
    private const string BeforeAuxiliary = "Mixed_6e";

    [Theory]
    [InlineData("image299")]
    [InlineData("image_small")]
    public void Features_AreTheReferences(string input)
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        var reference = new FormulaCase("fid/inception");
        using var network = new FidInceptionV3();
        FormulaWeights.Fill(network, reference.Prefix, reference.Gain);
        Dictionary<string, List<Tensor>> taps = FormulaCase.Record(network, [FirstPool, SecondPool, BeforeAuxiliary]);

        reference.AssertClose($"{input}/pool3_2048", network.call(reference.Input(input)));
        reference.AssertClose($"{input}/pool1_mean_per_channel_64", PoolMean(taps[FirstPool]));
        reference.AssertClose($"{input}/pool2_mean_per_channel_192", PoolMean(taps[SecondPool]));
        reference.AssertClose($"{input}/preaux_mean_per_channel_768", taps[BeforeAuxiliary].Single().mean([2, 3]));
    }

    [Fact]
    public void StateDict_HasThePublishedNamesAndShapes()
    {
        using var network = new FidInceptionV3();
        FormulaCase.AssertStateDict(
            FormulaCase.FullSize("fid/keys_and_shapes/fid_inception_v3.json").GetProperty("state_dict"), network);
        Assert.Equal(94, network.state_dict().Keys.Count(FidInceptionV3.IsOptional));
    }

    [Fact]
    public void Calls_LeaveNoTensorsBehind()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        using var network = new FidInceptionV3();
        FormulaWeights.Fill(network, "test/");
        Tensor image = zeros(1, 3, 40, 30);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        using (Tensor features = network.call(image))
        {
            Assert.Equal([1, 2048], features.shape);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void FileThatIsNotAPicture_IsRefused()
    {
        using var network = new FidInceptionV3();
        Assert.Throws<ArgumentException>(() => network.call(zeros(3, 40, 30)));
        Assert.Throws<ArgumentException>(() => network.call(zeros(1, 1, 40, 30)));
    }

    private static Tensor PoolMean(List<Tensor> tap) =>
        nn.functional.max_pool2d(tap.Single(), kernel_size: 3, stride: 2).mean([2, 3]);
}

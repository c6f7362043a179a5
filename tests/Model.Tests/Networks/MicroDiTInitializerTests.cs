using Atelier.Model.Networks;
using Atelier.Model.Tests.Verify;
using TorchSharp.Modules;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Networks;

public sealed class MicroDiTInitializerTests
{
    private static readonly MicroDiTConfig s_config = SmallNetworks.Realistic with { UseBias = true };

    [Fact]
    public void SameSeed_GivesTheSameBits_AndAnotherSeedOthers()
    {
        using MicroDiT first = Initialized(s_config, 7), second = Initialized(s_config, 7), other = Initialized(
            s_config, 8);
        foreach (((string name, Parameter a), (_, Parameter b), (_, Parameter c)) in
            first.named_parameters().Zip(second.named_parameters(), other.named_parameters()))
        {
            Assert.Equal(FormulaCase.Bits(a), FormulaCase.Bits(b));
            float[] numbers = SmallNetworks.Floats(a);
            bool isConstant = numbers.All(v => v == numbers[0]);
            Assert.Equal(isConstant, FormulaCase.Bits(a).AsSpan().SequenceEqual(FormulaCase.Bits(c)));
        }
    }

    [Fact]
    public void AParameter_DependsOnItsNameAlone_NotOnWhatElseTheNetworkHas()
    {
        MicroDiTConfig alike = SmallNetworks.Tiny with { QkvMultipliers = [1], FfnMultipliers = [2] };
        using MicroDiT shallow = Initialized(alike, 3), deep = Initialized(
            alike with { Depth = 8, PatchMixerDepth = 1 }, 3);
        Dictionary<string, Parameter> rest = deep.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        string[] common =
        [
            "x_embedder.proj.weight", "t_embedder.mlp.2.weight", "y_emb_preprocess.attn.qkv.weight",
            "patch_mixer.0.attn.qkv.weight", "blocks.0.cross_attn.kv_linear.weight", "blocks.1.mlp.gate.weight",
            "blocks.1.mlp.w1", "blocks.2.mlp.w1.weight", "blocks.2.attn.proj.weight",
        ];
        Dictionary<string, Parameter> first = shallow.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        Assert.All(common, name => Assert.Equal(FormulaCase.Bits(first[name]), FormulaCase.Bits(rest[name])));
    }

    [Fact]
    public void ANewNetwork_PredictsExactlyZero()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode();
        using MicroDiT network = Initialized(s_config, 1);
        using CaptionContext caption = network.Caption(SmallNetworks.Normal(2, [2, 7, 96]));
        Tensor f = network.call(SmallNetworks.Normal(1, [2, 4, 16, 16]), tensor([-1f, 1f]), caption);
        Assert.Equal([2, 4, 16, 16], f.shape);
        Assert.All(SmallNetworks.Floats(f), v => Assert.Equal(0, v));
    }

    // Five standard errors of a standard deviation, σ / √(2n), are allowed.
    [Theory]
    [InlineData("blocks.3.attn.qkv.weight", 0.02)]
    [InlineData("blocks.0.cross_attn.q_linear.weight", 0.02)]
    [InlineData("blocks.3.attn.proj.weight", 0.02 / 2.8284271247)]
    [InlineData("blocks.0.cross_attn.proj.weight", 0.02 / 1.4142135624)]
    [InlineData("blocks.0.mlp.w3.weight", 0.02 / 1.4142135624)]
    [InlineData("blocks.1.mlp.w1", 0.02)]
    [InlineData("blocks.1.mlp.w2", 0.02 / 2)]
    [InlineData("patch_mixer.0.attn.proj.weight", 0.02 / 2.8284271247)]
    [InlineData("y_emb_preprocess.attn.qkv.weight", 0.02)]
    [InlineData("y_embedder.y_proj.fc1.weight", 0.02)]
    [InlineData("pooled_y_emb_process.fc2.weight", 0.02)]
    [InlineData("t_embedder.mlp.0.weight", 0.02)]
    [InlineData("x_embedder.proj.weight", 0.1178511302)] // √(6 / (128 + 16)) / √3
    public void Weights_AreAsWideAsTheReferences(string name, double std)
    {
        using MicroDiT network = Initialized(s_config, 5);
        float[] values = SmallNetworks.Floats(network.named_parameters().Single(p => p.name == name).parameter);
        double mean = values.Average(v => (double)v), variance = values.Average(v => (v - mean) * (v - mean));
        double allowed = 5 * std / Math.Sqrt(2.0 * values.Length);
        Assert.InRange(mean, -2 * allowed, 2 * allowed);
        Assert.InRange(Math.Sqrt(variance), std - allowed, std + allowed);
    }

    [Fact]
    public void NormsStartAtOne_AndEveryParameterIsWritten()
    {
        using MicroDiT network = new(s_config);
        using (no_grad())
        {
            foreach (Parameter parameter in network.parameters())
            {
                parameter.fill_(float.NaN);
            }
        }

        MicroDiTInitializer.Initialize(network, 1);
        foreach ((string name, Parameter parameter) in network.named_parameters())
        {
            float[] values = SmallNetworks.Floats(parameter);
            Assert.All(values, v => Assert.True(float.IsFinite(v), name));
            if (name.Contains("norm", StringComparison.Ordinal) && name.EndsWith(".weight", StringComparison.Ordinal))
            {
                Assert.All(values, v => Assert.Equal(1, v));
            }
        }
    }

    private static MicroDiT Initialized(MicroDiTConfig config, ulong seed)
    {
        var network = new MicroDiT(config);
        MicroDiTInitializer.Initialize(network, seed);
        return network;
    }
}

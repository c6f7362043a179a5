// Goal: a configuration either makes a network or is rejected with a message that names the fault, before any memory is
// reserved for it.
using System.Buffers;
using System.Text;
using System.Text.Json;
using Atelier.Model.Networks;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Networks;

public sealed class MicroDiTConfigTests
{
    [Theory]
    [InlineData("XL_2", 1_165_442_320)]
    [InlineData("MicroDiT_Tiny_2", 200_692_752)]
    public void Preset_HasThePublishedNumberOfParameters(string name, long parameters)
    {
        using var network = new MicroDiT(MicroDiTConfig.Preset(name));
        Assert.Equal(parameters, network.parameters().Sum(p => p.numel()));
    }

    [Fact]
    public void Preset_OfAnotherNameIsRefusedWithTheNamesThatExist()
    {
        var error = Assert.Throws<ArgumentException>(() => MicroDiTConfig.Preset("DiT-XL/2"));
        Assert.Contains("\"DiT-XL/2\"; presets are Tiny_2 and XL_2", error.Message);
    }

    [Theory]
    [InlineData("""{"input_size": 0}""", "input_size must be in")]
    [InlineData("""{"input_size": 33}""", "input_size 33 must be a multiple of patch_size 2")]
    [InlineData("""{"input_size": 65536, "patch_size": 1}""", "input_size")]
    [InlineData("""{"patch_size": -2}""", "patch_size must be in")]
    [InlineData("""{"in_channels": 0}""", "in_channels must be in")]
    [InlineData("""{"dim": 0}""", "dim must be in")]
    [InlineData("""{"dim": 100}""", "dim 100 must be a multiple of head_dim 64")]
    [InlineData("""{"dim": 6, "head_dim": 2}""", "dim 6 must be a multiple of 4")]
    [InlineData("""{"dim": 2147483647}""", "dim must be in")]
    [InlineData("""{"depth": 0}""", "depth must be in")]
    [InlineData("""{"depth": -1, "qkv_multipliers": ["linspace", 1, 2]}""", "depth")]
    [InlineData("""{"depth": 2147483647, "qkv_multipliers": ["linspace", 1, 2]}""", "depth")]
    [InlineData("""{"depth": "many"}""", "\"depth\" cannot be \"many\"")]
    [InlineData("""{"depth": 1.5, "qkv_multipliers": ["linspace", 1, 2]}""", "\"depth\" cannot be 1.5")]
    [InlineData("""{"head_dim": 0}""", "head_dim must be in")]
    [InlineData("""{"multiple_of": 0}""", "multiple_of must be in")]
    [InlineData("""{"caption_channels": 0}""", "caption_channels must be in")]
    [InlineData("""{"pos_interp_scale": 0}""", "pos_interp_scale must be positive")]
    [InlineData("""{"norm_eps": 0}""", "norm_eps must be between")]
    [InlineData("""{"norm_eps": 1}""", "norm_eps must be between")]
    [InlineData("""{"qkv_multipliers": []}""", "qkv_multipliers and ffn_multipliers")]
    [InlineData("""{"qkv_multipliers": [1, 1]}""", "qkv_multipliers and ffn_multipliers")]
    [InlineData(
        """{"qkv_multipliers": [1, 1, 1], "ffn_multipliers": [1, 1, 1]}""",
        "depth 28 must be a multiple of the number of multipliers, 3")]
    [InlineData("""{"qkv_multipliers": [0]}""", "multipliers must be above 0")]
    [InlineData("""{"qkv_multipliers": [0.0001]}""", "qkv_multipliers")]
    [InlineData("""{"ffn_multipliers": [-1]}""", "multipliers must be above 0")]
    [InlineData("""{"ffn_multipliers": [1e300]}""", "multipliers must be above 0")]
    [InlineData("""{"ffn_multipliers": [0.0001]}""", "ffn_multipliers")]
    [InlineData("""{"ffn_multipliers": ["logspace", 1, 2]}""", "\"ffn_multipliers\" cannot be")]
    [InlineData("""{"ffn_multipliers": 4}""", "\"ffn_multipliers\" cannot be 4")]
    [InlineData("""{"patch_mixer_depth": 0}""", "patch_mixer_depth must be in")]
    [InlineData("""{"patch_mixer_dim": 0}""", "patch_mixer_dim must be in")]
    [InlineData("""{"patch_mixer_dim": 100}""", "patch_mixer_dim 100 must be a multiple of head_dim 64")]
    [InlineData("""{"patch_mixer_qkv_ratio": 0}""", "patch_mixer_qkv_ratio")]
    [InlineData("""{"patch_mixer_qkv_ratio": -1}""", "patch_mixer_qkv_ratio")]
    [InlineData("""{"patch_mixer_mlp_ratio": 0}""", "patch_mixer_mlp_ratio")]
    [InlineData("""{"patch_mixer_mlp_ratio": 1e300}""", "patch_mixer_mlp_ratio")]
    [InlineData("""{"num_experts": 0}""", "num_experts must be in")]
    [InlineData("""{"expert_capacity": 0}""", "expert_capacity must be above 0")]
    [InlineData("""{"expert_capacity": 9}""", "expert_capacity must be above 0 and at most num_experts")]
    [InlineData("""{"experts_every_n": 0}""", "experts_every_n must be in")]
    [InlineData("""{"use_bias": 1}""", "\"use_bias\" cannot be 1")]
    [InlineData("""{"dim": 64.5}""", "\"dim\" cannot be 64.5")]
    [InlineData("""{"dim": null}""", "\"dim\" cannot be null")]
    [InlineData("""{"learn_sigma": true}""", "\"learn_sigma\" is not an argument of MicroDiT")]
    [InlineData("[]", "object")]
    public void FromJson_RefusesAnInvalidNetwork_AndNamesTheFault(string json, string sentence)
    {
        var error = Assert.Throws<ArgumentException>(
            () => MicroDiTConfig.FromJson(JsonDocument.Parse(json).RootElement));
        Assert.Contains(sentence, error.Message);
    }

    [Fact]
    public void FromJson_ReadsWhatWriteJsonWrote()
    {
        MicroDiTConfig config = MicroDiTConfig.Preset("Tiny_2", inputSize: 64, posInterpScale: 2) with
        {
            NormEps = 1e-5,
            PatchMixerQkvRatio = 0.75,
            ExpertsEveryN = 3,
            UseBias = true,
        };
        Assert.Equal(Text(config), Text(MicroDiTConfig.FromJson(JsonDocument.Parse(Text(config)).RootElement)));
    }

    [Fact]
    public void Linspace_InAFileIsSpreadOverTheDepth_WhereverDepthStands()
    {
        const string Text = """
            {"qkv_multipliers": ["linspace", 0.5, 1.0], "ffn_multipliers": ["linspace", 0.5, 4.0], "depth": 28}
            """;
        MicroDiTConfig preset = MicroDiTConfig.Preset("XL_2");
        MicroDiTConfig read = MicroDiTConfig.FromJson(JsonDocument.Parse(Text).RootElement);
        Assert.Equal(preset.QkvMultipliers, read.QkvMultipliers);
        Assert.Equal(preset.FfnMultipliers, read.FfnMultipliers);
    }

    [Fact]
    public void Linspace_HasItsEndsExactly_AndEqualSteps() =>
        Gen.Select(Gen.Double[-10, 10], Gen.Double[-10, 10], Gen.Int[2, 64]).Sample((first, last, count) =>
        {
            double[] values = MicroDiTConfig.Linspace(first, last, count);
            double step = (last - first) / (count - 1);
            return values.Length == count && values[0] == first && values[^1] == last
                && Enumerable.Range(0, count - 1).All(i => Math.Abs(values[i + 1] - values[i] - step) < 1e-13);
        });

    [Fact]
    public void Linspace_OfOneValueIsTheFirst() => Assert.Equal([0.5], MicroDiTConfig.Linspace(0.5, 4, 1));

    private static string Text(MicroDiTConfig config)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            config.WriteJson(writer);
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}

using Atelier.Cli.Verify;
using Atelier.Model.Networks;
using Xunit;

namespace Atelier.Model.Tests.Verify;

public sealed class FormulaWeightsTests
{
    [Theory]
    [InlineData("", 0x811C9DC5u)]
    [InlineData("a", 0xE40C292Cu)]
    [InlineData("foobar", 0xBF9CF968u)]
    public void Seed_IsFnv1aOfTheName(string name, uint seed) => Assert.Equal(seed, FormulaWeights.Seed(name));

    [Theory]
    [InlineData("blocks.0.attn.qkv.weight", new long[] { 288, 96 }, 0, 0xBDFDA2A3u)]
    [InlineData("blocks.0.attn.qkv.weight", new long[] { 288, 96 }, 1, 0x3E305305u)]
    [InlineData("blocks.0.attn.qkv.weight", new long[] { 288, 96 }, 12345, 0xBE295ACFu)]
    [InlineData("x_embedder.proj.weight", new long[] { 96, 4, 2, 2 }, 7, 0x3C3FB8C9u)]
    [InlineData("x_embedder.proj.bias", new long[] { 96 }, 3, 0xBCC6AB3Bu)]
    [InlineData("blocks.0.norm1.weight", new long[] { 96 }, 0, 0x3F6C48BAu)]
    [InlineData("blocks.1.mlp.w1", new long[] { 4, 96, 160 }, 1000, 0xBDE90205u)]
    [InlineData("blocks.1.mlp.w2", new long[] { 4, 160, 96 }, 1000, 0xBDE0C634u)]
    [InlineData("token_embedding.weight", new long[] { 49408, 64 }, 3000000, 0x3E754844u)]
    [InlineData("visual.proj", new long[] { 64, 48 }, 5, 0xBE0EC41Au)]
    public void Element_HasTheBitsOfTheCheckTable(string name, long[] shape, int index, uint bits)
    {
        (double center, double scale) = FormulaWeights.Interval(name, shape);
        float[] values = new float[shape.Aggregate(1L, (a, b) => a * b)];
        FormulaWeights.Fill(values, name, center, scale);
        Assert.Equal(bits, BitConverter.SingleToUInt32Bits(values[index]));
        Assert.Equal(values[index], FormulaWeights.Element(FormulaWeights.Seed(name), (uint)index, center, scale));
    }

    [Fact]
    public void Inputs_StartAsTheReferenceSays()
    {
        float[] values = new float[2];
        FormulaWeights.Fill(values, "input/dit/a_mixer/x", 0, Math.Sqrt(3));
        Assert.Equal([0.967107415f, -0.912035942f], values);
    }

    [Theory]
    [InlineData("logit_scale", new long[0], 2.65926, 0, 1)]
    [InlineData("a.bn.running_mean", new long[] { 4 }, 0, 0.1, 1)]
    [InlineData("a.bn.running_var", new long[] { 4 }, 1, 0.2, 1)]
    [InlineData("attn.in_proj_bias", new long[] { 4 }, 0, 0.05, 1)]
    [InlineData("visual.class_embedding", new long[] { 4 }, 0, 0.5, 1)]
    [InlineData("positional_embedding", new long[] { 77, 4 }, 0, 0.5, 1)]
    [InlineData("ln_final.weight", new long[] { 4 }, 1, 0.1, 1)]
    [InlineData("attn.proj.weight", new long[] { 4, 12 }, 0, 0.5, 3)]
    [InlineData("text_projection", new long[] { 12, 4 }, 0, 0.5, 3)]
    [InlineData("mlp.w1", new long[] { 4, 12, 5 }, 0, 0.5, 3)]
    [InlineData("conv.weight", new long[] { 5, 3, 2, 2 }, 0, 0.5, 3)]
    public void Interval_TakesTheFirstRuleThatFits_AndGainTouchesOnlyKernelsAndMatrices(
        string name, long[] shape, double center, double scale, double factorOfGainThree)
    {
        Assert.Equal((center, scale), FormulaWeights.Interval(name, shape));
        Assert.Equal((center, scale * factorOfGainThree), FormulaWeights.Interval(name, shape, gain: 3));
    }

    [Fact]
    public void Fill_CoversTensorsOfManyPiecesWithoutSeams()
    {
        float[] values = new float[(1 << 19) + 77];
        FormulaWeights.Fill(values, "seams", 0, 1);
        uint seed = FormulaWeights.Seed("seams");
        for (int i = 0; i < values.Length; i++)
        {
            if (values[i] != FormulaWeights.Element(seed, (uint)i, 0, 1))
            {
                Assert.Fail($"element {i}");
            }
        }
    }

    [Fact]
    public void Fill_OfAModuleHashesThePrefixButJudgesTheBareName()
    {
        using var layer = new Linear(3, 2, bias: true);
        FormulaWeights.Fill(layer, "some/", gain: 2);
        Assert.Equal(
            FormulaWeights.Element(FormulaWeights.Seed("some/weight"), 4, 0, 2),
            layer.Weight.bytes.ToArray().Chunk(4).Select(b => BitConverter.ToSingle(b)).ElementAt(4));
        Assert.Equal(
            FormulaWeights.Element(FormulaWeights.Seed("some/bias"), 1, 0, 0.05),
            layer.Bias!.bytes.ToArray().Chunk(4).Select(b => BitConverter.ToSingle(b)).ElementAt(1));
    }

    [Fact]
    public void Interval_RefusesWhatNoRuleCovers() =>
        Assert.Throws<ArgumentException>(() => FormulaWeights.Interval("conv3d.weight", [1, 1, 1, 1, 1]));
}

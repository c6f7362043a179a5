// Goal: experts by gather and scatter equal the one-hot products of the paper, forward and backward, also if tokens
// tie, are chosen by no expert, or an expert chooses none. Method: the products written out with torch's own
// derivatives, in float64.
using Atelier.Cli.Verify;
using Atelier.Model.Networks;
using TorchSharp;
using TorchSharp.Modules;
using Xunit;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Tests.Networks;

public sealed class ExpertChoiceTests
{
    private const int Dim = 12;

    [Theory]
    [InlineData(4, 2, 16)]
    [InlineData(4, 1, 9)]
    [InlineData(8, 2, 4)]
    [InlineData(2, 1, 5)]
    [InlineData(3, 3, 7)]
    public void OutputAndGradients_AreThoseOfTheOneHotProduct(int experts, double capacity, int tokens)
    {
        using var scope = NewDisposeScope();
        using ExpertChoiceFeedForward layer = Layer(experts, capacity);
        Tensor x = SmallNetworks.Normal(1, [3, tokens, Dim]).to(ScalarType.Float64).detach().requires_grad_();
        Tensor weight = SmallNetworks.Normal(2, [3, tokens, Dim]).to(ScalarType.Float64);

        Tensor product = OneHot(layer, x);
        Tensor output = layer.call(x);
        AssertNear(product, output);
        Tensor[] inputs = [x, .. layer.parameters()];
        IList<Tensor> expected = autograd.grad([(product * weight).sum()], inputs);
        IList<Tensor> actual = autograd.grad([(output * weight).sum()], inputs);
        Assert.Equal(4, inputs.Length);
        for (int i = 0; i < inputs.Length; i++)
        {
            Assert.True(expected[i].abs().max().item<double>() > 1e-3, "a gradient that is zero proves nothing");
            AssertNear(expected[i], actual[i]);
        }
    }

    [Fact]
    public void EqualTokens_GiveEachExpertExactlyItsShare_AndTheSameBitsEachTime()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode();
        using ExpertChoiceFeedForward layer = Layer(experts: 4, capacity: 2);
        Tensor x = SmallNetworks.Normal(1, [1, 1, Dim]).to(ScalarType.Float64).expand(2, 10, Dim).contiguous();
        ExpertChoice choice = layer.Choose(x);
        Assert.Equal([2, 4, 5], choice.Tokens.shape);
        Assert.All(
            choice.Tokens.view(-1).data<long>().ToArray().Chunk(5),
            chosen => Assert.Equal(5, chosen.Distinct().Count()));
        Assert.Equal(layer.call(x).data<double>().ToArray(), layer.call(x).data<double>().ToArray());
        AssertNear(OneHot(layer, x), layer.call(x));
    }

    [Fact]
    public void TokensThatNobodyTakes_ContributeExactlyZero()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode();
        using ExpertChoiceFeedForward layer = Layer(experts: 4, capacity: 1);
        Tensor x = SmallNetworks.Normal(1, [1, 64, Dim]).to(ScalarType.Float64);
        HashSet<long> taken = [.. layer.Choose(x).Tokens.view(-1).data<long>().ToArray()];
        double[][] rows = [.. layer.call(x).data<double>().ToArray().Chunk(Dim)];
        Assert.InRange(taken.Count, 1, 63);
        Assert.All(rows.Index(), row => Assert.Equal(!taken.Contains(row.Index), row.Item.All(v => v == 0)));
    }

    [Fact]
    public void NoCapacity_GivesZeros_WithGradients()
    {
        using var scope = NewDisposeScope();
        using ExpertChoiceFeedForward layer = Layer(experts: 4, capacity: 1);
        Tensor x = SmallNetworks.Normal(1, [2, 3, Dim]).to(ScalarType.Float64).detach().requires_grad_();
        Assert.Equal(0, layer.TokensPerExpert(3));
        Tensor output = layer.call(x);
        Assert.Equal([2, 3, Dim], output.shape);
        Assert.Equal(0, output.abs().max().item<double>());
        (x + output).sum().backward();
        Assert.Equal(ones_like(x).data<double>().ToArray(), x.grad!.data<double>().ToArray());
    }

    [Fact]
    public void GradientOfTheWholeNetwork_IsTheSlopeOfItsLoss()
    {
        using var scope = NewDisposeScope();
        using MicroDiT network = SmallNetworks.Filled(SmallNetworks.Tiny);
        network.to(ScalarType.Float64);
        (string _, Parameter parameter)[] parameters = [.. network.named_parameters()];
        Tensor x = Double(SmallNetworks.Normal(1, [2, 4, 8, 8])), t = tensor([-0.7, 0.4]);
        Tensor captions = Double(SmallNetworks.Normal(2, [2, 5, 24]));
        Tensor weight = Double(SmallNetworks.Normal(3, [2, 4, 8, 8]));
        using PatchMask mask = PatchMask.FromNoise(SmallNetworks.Normal(4, 32), 2, 0.5);
        Loss().backward();
        ulong seed = 10;
        foreach ((string name, Parameter parameter) in parameters)
        {
            using var inner = NewDisposeScope();
            using var noGradients = no_grad();
            Tensor direction = Double(SmallNetworks.Normal(seed++, parameter.shape));
            double gradient = (parameter.grad! * direction).sum().item<double>();
            const double Step = 1e-6;
            parameter.add_(direction, Step);
            double above = Loss().item<double>();
            parameter.add_(direction, -2 * Step);
            double below = Loss().item<double>();
            parameter.add_(direction, Step);
            double slope = (above - below) / (2 * Step);
            Assert.True(
                Math.Abs(slope - gradient) < 1e-5 * (1 + Math.Abs(slope)),
                $"{name}: slope {slope}, gradient {gradient}");
        }

        Tensor Loss()
        {
            using var inner = NewDisposeScope();
            using CaptionContext caption = network.Caption(captions);
            return (network.Predict(x, t, caption, mask) * weight).sum().MoveToOuterDisposeScope();
        }

        static Tensor Double(Tensor numbers) => numbers.to(ScalarType.Float64);
    }

    // Gather and scatter as products with P[b, e, k, t] = 1 where expert e takes token t as its k-th (section 3 of Zhou
    // et al. 2022, arXiv 2202.09368).
    private static Tensor OneHot(ExpertChoiceFeedForward layer, Tensor x)
    {
        Dictionary<string, Parameter> weights = layer.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        Tensor probabilities = functional.softmax(functional.linear(x, weights["gate.weight"]), dim: -1);
        (Tensor gates, Tensor tokens) = probabilities.transpose(1, 2).topk(layer.TokensPerExpert(x.shape[1]), dim: -1);
        Tensor chosen = functional.one_hot(tokens, x.shape[1]).to(x.dtype);
        Tensor taken = einsum("bekt,btd->bekd", chosen, x);
        Tensor hidden = functional.gelu(einsum("bekd,edf->bekf", taken, weights["w1"]));
        Tensor given = einsum("bekf,efd->bekd", hidden, weights["w2"]);
        return einsum("bekt,bek,bekd->btd", chosen, gates, given);
    }

    private static ExpertChoiceFeedForward Layer(int experts, double capacity)
    {
        var layer = new ExpertChoiceFeedForward(experts, capacity, Dim, hidden: 20);
        FormulaWeights.Fill(layer, "experts/");
        layer.to(ScalarType.Float64);
        return layer;
    }

    private static void AssertNear(Tensor expected, Tensor actual)
    {
        double error = (expected - actual).abs().max().item<double>(), size = expected.abs().max().item<double>();
        Assert.True(error <= 1e-12 * (1 + size), $"off by {error} of {size}");
    }
}

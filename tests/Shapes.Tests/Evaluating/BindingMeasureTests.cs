// Goal: a probe finds a fact if the states hold it and not otherwise, and the measure of a model is a function of its
// seed. Method: states that are made up; the shipped model with few captions.
using Atelier.Model.Pipeline;
using Atelier.Shapes.Evaluating;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Evaluating;

public sealed class BindingMeasureTests
{
    private const int States = 600, Features = 12, Values = 3;

    [Theory]
    [InlineData(true, 0.99, 1)]
    [InlineData(false, 0.15, 0.5)]
    public void AProbe_FindsAFact_IfTheStatesHoldIt(bool isHeld, double low, double high)
    {
        torch.set_num_threads(1);
        using var noGradients = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        using var generator = new torch.Generator(5);
        torch.Tensor facts = torch.randint(0, Values, [2 * States], torch.ScalarType.Int64, generator: generator);
        torch.Tensor states = torch.randn([2 * States, Features], generator: generator);
        if (isHeld)
        {
            // One direction for each value, small beside the others and far from zero.
            states = (states * 50) + 1000;
            states[.., ..Values] = (torch.nn.functional.one_hot(facts, Values) * 0.1) + 3;
        }

        using var probe = new LinearProbe(states[..States], facts[..States], Values);
        Assert.InRange(probe.Accuracy(states[States..], facts[States..]), low, high);
    }

    [Fact]
    public void AModel_IsMeasuredByItsSeed()
    {
        torch.set_num_threads(1);
        using var measure = new BindingMeasure(ModelFolder.Open(Repository.At("models/shapes")));
        var settings = new BindingSettings { Fitted = 300, Tested = 200, Pairs = 3 };
        BindingScores one = measure.Run(settings, null, TestContext.Current.CancellationToken);
        BindingScores again = measure.Run(settings, null, TestContext.Current.CancellationToken);
        Assert.Equal(one.Probes, again.Probes);
        Assert.Equal(one.Sensitivities, again.Sensitivities);
        Assert.Equal(6, one.Probes.Count);
        Assert.All(one.Probes, probe => Assert.InRange(probe.DirectionChance, 0.15, 0.4));
        Assert.All(one.Sensitivities, sensitivity => Assert.InRange(sensitivity.Ratio, 0.02, 1.5));

        // The caption block sees whole captions, so the states at its nouns hold most of the kinds.
        Assert.All(
            one.Probes.Where(probe => probe.States == BindingMeasure.OfBlock && probe.Place != BindingMeasure.Last),
            probe => Assert.InRange(probe.PartnerKind, 0.5, 1));
        BindingScores other = measure.Run(
            settings with { Seed = 2 }, null, TestContext.Current.CancellationToken);
        Assert.NotEqual(one.Sensitivities, other.Sensitivities);
    }

    [Theory]
    [InlineData(0.95, 0.95, true)]
    [InlineData(0.94, 1, false)]
    [InlineData(1, 0.94, false)]
    public void AnEncoder_Binds_IfBothNounsHoldTheDirection(double first, double second, bool isBound)
    {
        var scores = new BindingScores(
            [
                Probe(BindingMeasure.OfText, BindingMeasure.First, first),
                Probe(BindingMeasure.OfText, BindingMeasure.Second, second),
                Probe(BindingMeasure.OfText, BindingMeasure.Last, 0),
                Probe(BindingMeasure.OfBlock, BindingMeasure.First, 0),
            ],
            []);
        Assert.Equal(isBound, scores.IsBound);

        static BindingProbe Probe(string states, string place, double heldOut) =>
            new(states, place, 1, heldOut, 0.2, 1, 1);
    }
}

// Goal: numbers and tensors are guided alike, by the formula of classifier-free guidance.
using Atelier.Model.Diffusion;
using Atelier.Model.Tests.Networks;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Diffusion;

public sealed class GuidanceTests
{
    [Theory]
    [InlineData(3, 1, 2.5, 6)]
    [InlineData(3, 1, 1, 3)]
    [InlineData(-2, 0.5, 4, -9.5)]
    public void Prediction_MovesFromUnconditionalThroughConditional(
        double conditional, double unconditional, double scale, double guided)
    {
        Assert.Equal(guided, Guidance.Combine(conditional, unconditional, scale));
        using var scope = NewDisposeScope();
        Tensor all = Guidance.Combine(
            full([2], conditional, ScalarType.Float32), full([2], unconditional, ScalarType.Float32), scale);
        Assert.Equal([(float)guided, (float)guided], SmallNetworks.Floats(all));
    }
}

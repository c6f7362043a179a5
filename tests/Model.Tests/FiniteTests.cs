// Goal: a NaN or infinity is found wherever it is, and no finite number is mistaken for one.
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests;

public sealed class FiniteTests
{
    [Fact]
    public void ANonFiniteNumber_IsFoundAtEveryPosition()
    {
        foreach (float value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            for (int length = 1; length <= 70; length++)
            {
                for (int at = 0; at < length; at++)
                {
                    float[] floats = [.. Enumerable.Range(0, length).Select(i => i == at ? value : i - 20f)];
                    Assert.Equal(at, Finite.IndexOfFault(floats));
                    Assert.Equal(at, Finite.IndexOfFault([.. floats.Select(number => (Half)number)]));
                }
            }
        }
    }

    [Fact]
    public void FiniteNumbers_HoweverLarge_AreAccepted()
    {
        float[] floats =
            [float.MaxValue, float.MinValue, float.Epsilon, 0, -0f, .. Enumerable.Repeat(float.MaxValue, 64)];
        Assert.Equal(-1, Finite.IndexOfFault(floats));
        Half[] halves = [Half.MaxValue, Half.MinValue, Half.Epsilon, .. Enumerable.Repeat(Half.MaxValue, 64)];
        Assert.Equal(-1, Finite.IndexOfFault(halves));
        Assert.Equal(-1, Finite.IndexOfFault((ReadOnlySpan<float>)[]));
        using Tensor large = tensor(floats); // Their sum is infinite.
        Assert.Same(large, Finite.Check("part", large));
    }

    [Fact]
    public void AnOutput_IsRefusedWithItsPartAndItsValue()
    {
        using Tensor output = tensor(new[] { 1f, float.NegativeInfinity, float.NaN }).to(ScalarType.BFloat16);
        var error = Assert.Throws<NonFiniteException>(() => Finite.Check("decoder", output));
        Assert.Equal(("decoder", double.NegativeInfinity), (error.Part, error.Value));
        Assert.Equal("The decoder gave -infinity instead of a finite number.", error.Message);
        Assert.Equal(
            "The decoder of the model shapes gave -infinity instead of a finite number.",
            error.Of("shapes"));
    }
}

using Atelier.Model.Networks;
using Xunit;

namespace Atelier.Model.Tests.Networks;

public sealed class LayerTests
{
    [Fact]
    public void Linear_HasTheReferenceKeys()
    {
        using var layer = new Linear(3, 2, bias: true);
        Assert.Equal(["bias", "weight"], layer.named_parameters().Select(p => p.name).Order());
    }
}

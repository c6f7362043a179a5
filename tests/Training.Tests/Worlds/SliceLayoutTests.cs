// Goal: slices cover the vector exactly once, and a frame whose length is not that of its slice is detected. Method:
// all layouts of short vectors.
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class SliceLayoutTests
{
    [Fact]
    public void Slices_CoverTheVector_Once()
    {
        for (int parameters = 1; parameters < 40; parameters++)
        {
            float[] gradient = [.. Enumerable.Range(0, parameters).Select(i => (float)i)];
            for (int slices = 1; slices <= 8; slices++)
            {
                GradientSlice[] cut = new SliceLayout(parameters, slices).Cut(gradient, new BatchSums { Samples = 3 });
                Assert.Equal(gradient, cut.SelectMany(slice => slice.Values.ToArray()));
                Assert.Equal(3, cut[0].Sums!.Samples);
                Assert.All(cut.Skip(1), slice => Assert.Null(slice.Sums));
                Assert.InRange(cut.Max(slice => slice.Values.Length) - cut.Min(slice => slice.Values.Length), 0, 1);
            }
        }
    }

    [Theory]
    [InlineData(0, 4, true)]
    [InlineData(1, 3, true)]
    [InlineData(1, 4, false)]
    [InlineData(2, 2, false)]
    [InlineData(3, 3, false)]
    public void FrameWithOtherNumbers_DoesNotFit(int slice, int length, bool fits)
    {
        var value = new GradientSlice(new float[length], null);
        Assert.Equal(fits, SliceLayout.Fits(
            new PartialFrame<GradientSlice>(1, 5, slice, new TreeNode(0, 0), value), 10, 3));
        Assert.Equal(fits, SliceLayout.Fits(new TotalFrame<GradientSlice>(1, 5, slice, 3, value), 10, 99));
        Assert.True(SliceLayout.Fits(new FollowFrame(1), 10, 3));
    }
}

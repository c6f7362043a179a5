// Goal: totals are returned only as the complete set of one cut of one step, the first value of a slice is kept, and
// the buffer never holds more steps than its bound. Method: totals by hand, and random arrivals against a model that
// keeps everything.
using Atelier.Training.Worlds;
using CsCheck;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class TotalsBufferTests
{
    [Fact]
    public void Step_IsReturnedOnce_WhenAllItsSlicesAreThere_InTheirOrder()
    {
        TotalsBuffer<string> buffer = Buffer(4, (7, 2, 3, "c"), (7, 0, 3, "a"));
        Assert.Null(buffer.Take(7));
        Assert.Null(buffer.Take(8));

        buffer.Add(Total(7, 1, 3, "b"));
        Assert.Equal(["a", "b", "c"], buffer.Take(7)!.Value);
        Assert.Null(buffer.Take(7));
        Assert.Equal((0, -1), (buffer.Count, buffer.Last));
    }

    [Fact]
    public void DuplicateTotal_DoesNotReplaceTheFirst()
    {
        TotalsBuffer<string> buffer = Buffer(4, (7, 0, 2, "first"), (7, 0, 2, "second"), (7, 1, 2, "b"));
        Assert.Equal(["first", "b"], buffer.Take(7)!.Value);
    }

    [Fact]
    public void FullBuffer_RefusesAnotherStep_AndStillCompletesThoseItHas()
    {
        TotalsBuffer<string> buffer = Buffer(2, (7, 0, 2, "a"), (8, 0, 1, "x"));
        Assert.False(buffer.Add(Total(9, 0, 1, "y")));
        Assert.False(buffer.Add(Total(6, 0, 1, "y")));
        Assert.Equal((2, 8), (buffer.Count, buffer.Last));

        Assert.True(buffer.Add(Total(7, 1, 2, "b")));
        Assert.Equal(["a", "b"], buffer.Take(7)!.Value);
        Assert.True(buffer.Add(Total(9, 0, 1, "y")));
    }

    // Totals of an earlier world may be followed by totals of the same step from a world with other members.
    [Fact]
    public void AnotherCut_ReplacesAnIncompleteOne_AndIsIgnoredBesideACompleteOne()
    {
        TotalsBuffer<string> buffer = Buffer(4, (7, 0, 3, "old"), (7, 2, 3, "old"), (7, 1, 2, "b"));
        Assert.Null(buffer.Take(7));
        Assert.True(buffer.Add(Total(7, 0, 2, "a")));

        Assert.True(buffer.Add(Total(7, 0, 3, "late")));
        Assert.Equal(["a", "b"], buffer.Take(7)!.Value);
    }

    [Fact]
    public void FirstMissing_IsTheFirstIncompleteStep_FromTheGivenOne()
    {
        TotalsBuffer<string> buffer = Buffer(
            8, (7, 0, 1, "a"), (8, 0, 1, "a"), (9, 0, 2, "a"), (10, 0, 1, "a"));
        Assert.Equal(
            [6, 9, 9, 9, 11], new[] { 6L, 7, 8, 9, 10 }.Select(step => buffer.FirstMissing(step)));
    }

    [Fact]
    public void DroppedSteps_AreThoseBefore_OrThoseFrom_TheGivenStep()
    {
        (long, int, int, string)[] totals = [.. Enumerable.Range(5, 5).Select(step => ((long)step, 0, 1, "a"))];
        TotalsBuffer<string> before = Buffer(8, totals), from = Buffer(8, totals), all = Buffer(8, totals);
        before.DropBefore(7);
        Assert.Equal((3, 9, 5, 10), (before.Count, before.Last, before.FirstMissing(5), before.FirstMissing(7)));
        from.DropFrom(7);
        Assert.Equal((2, 6, 7), (from.Count, from.Last, from.FirstMissing(5)));
        all.Clear();
        Assert.Equal((0, -1), (all.Count, all.Last));
    }

    [Fact]
    public void AnyArrivals_ReturnOnlyTotalsOfOneCut() =>
        Gen.Select(Gen.Int[0, 3], Gen.Int[1, 3], Gen.Int[0, 2]).Array[60].Sample(arrivals =>
        {
            const int stepsMax = 2;
            var buffer = new TotalsBuffer<string>(stepsMax);
            foreach ((int step, int slices, int slice) in arrivals)
            {
                int held = buffer.Count;
                TotalFrame<string> total = Total(
                    step, slice % slices, slices, $"{step}:{slice % slices}/{slices}");
                Assert.True(buffer.Add(total) || held == stepsMax);
                Assert.InRange(buffer.Count, 0, stepsMax);
                if (buffer.Take(step) is { } whole)
                {
                    Assert.Equal(
                        Enumerable.Range(0, whole.Length).Select(i => $"{step}:{i}/{whole.Length}"), whole);
                }
            }
        });

    private static TotalFrame<string> Total(long step, int slice, int slices, string value) =>
        new(1, step, slice, slices, value);

    private static TotalsBuffer<string> Buffer(
        int stepsMax, params (long Step, int Slice, int Slices, string Value)[] totals)
    {
        var buffer = new TotalsBuffer<string>(stepsMax);
        Assert.All(
            totals, total => Assert.True(buffer.Add(Total(total.Step, total.Slice, total.Slices, total.Value))));
        return buffer;
    }
}

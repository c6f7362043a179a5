// Goal: a difference between the members' states is found at the first step at which they differ, the minority is
// named, and a step counts as agreed only when all members that had it have reported the same digest. Method: cases.
using Atelier.Training.Stages;
using Atelier.Training.Tests.Worlds;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Stages;

public sealed class StateAuditTests
{
    private static readonly TrainerId s_a = TestWorlds.A, s_b = TestWorlds.B, s_c = TestWorlds.C, s_d = new("d", 1);
    private readonly StateAudit _audit = new();

    [Fact]
    public void EqualStates_AreAgreed_OnceAllHaveReported()
    {
        Record(s_a, 51, (50, "x"));
        Assert.False(_audit.IsAgreed(50, [s_a, s_b]));
        Record(s_b, 51, (50, null));
        Assert.False(_audit.IsAgreed(50, [s_a, s_b]));
        Record(s_b, 51, (50, "x"));
        Assert.True(_audit.IsAgreed(50, [s_a, s_b]));
        Assert.False(_audit.IsAgreed(40, [s_a, s_b]));
        Assert.Null(_audit.Find([s_a, s_b]));
    }

    [Fact]
    public void AMemberThatHasNotReachedTheStep_IsWaitedFor()
    {
        Record(s_a, 51, (50, "x"));
        Record(s_b, 51, (50, "x"));
        Record(s_c, 50);
        Assert.False(_audit.IsAgreed(50, [s_a, s_b, s_c]));
        Record(s_a, 51, (50, "y"));
        Assert.Null(_audit.Find([s_a, s_b, s_c]));
    }

    [Fact]
    public void AMemberThatJoinedLater_HasNoSay()
    {
        Record(s_a, 51, (50, "x"));
        Record(s_b, 51, (50, "x"));
        _audit.Record(s_c, 51, 50, []);
        Assert.True(_audit.IsAgreed(50, [s_a, s_b, s_c]));
        Assert.Null(_audit.FindMissing(50, [s_a, s_b, s_c]));
    }

    // A step that ends with a checkpoint for one member ends with one for all.
    [Fact]
    public void AMemberThatHasAppliedTheStep_WithoutAuditingIt_Differs()
    {
        Record(s_a, 51, (50, "x"));
        Record(s_b, 50);
        Assert.False(_audit.IsAgreed(50, [s_a, s_b]));
        Assert.Null(_audit.FindMissing(50, [s_a, s_b])); // It may still report it.
        Record(s_b, 51);
        Assert.False(_audit.IsAgreed(50, [s_a, s_b]));
        Assert.Empty(_audit.FindMissing(50, [s_a, s_b])!.Wrong);
        Record(s_c, 49);
        Assert.Null(_audit.FindMissing(50, [s_a, s_b, s_c])); // One against one: the third decides.
        Record(s_c, 51);
        Assert.Equal([s_a], _audit.FindMissing(50, [s_a, s_b, s_c])!.Wrong);
        Record(s_c, 51, (50, "x"));
        Assert.Equal([s_b], _audit.FindMissing(50, [s_a, s_b, s_c])!.Wrong);
        _audit.Record(s_c, 51, 50, []);
        Assert.Empty(_audit.FindMissing(50, [s_a, s_b, s_c])!.Wrong); // It joined later, and has no say.
    }

    [Fact]
    public void TheMinority_IsNamed()
    {
        foreach ((TrainerId id, string digest) in new[] { (s_a, "x"), (s_b, "y"), (s_c, "x"), (s_d, "x") })
        {
            Record(id, 60, (50, digest));
        }

        StateDifference found = _audit.Find([s_a, s_b, s_c, s_d])!;
        Assert.Equal(50, found.Step);
        Assert.Equal([s_b], found.Wrong);
        Assert.False(_audit.IsAgreed(50, [s_a, s_b, s_c, s_d]));
    }

    [Fact]
    public void WithoutAMajority_NobodyIsNamed()
    {
        Record(s_a, 60, (50, "x"));
        Record(s_b, 60, (50, "y"));
        Assert.Empty(_audit.Find([s_a, s_b])!.Wrong);
        Record(s_c, 60, (50, "x"));
        Record(s_d, 60, (50, "y"));
        Assert.Empty(_audit.Find([s_a, s_b, s_c, s_d])!.Wrong);
    }

    [Fact]
    public void TheFirstDifference_Counts()
    {
        Record(s_a, 90, (50, "x"), (60, "1"), (70, "2"));
        Record(s_b, 90, (50, "x"), (60, "3"), (70, "4"));
        Assert.Equal(60, _audit.Find([s_a, s_b])!.Step);
    }

    // If a step is computed again, its last digest counts.
    [Fact]
    public void TheLastDigestOfAStep_Counts()
    {
        Record(s_a, 60, (50, "x"), (50, "y"));
        Record(s_b, 60, (50, "y"));
        Assert.True(_audit.IsAgreed(50, [s_a, s_b]));
        _audit.Keep(_ => false);
        Assert.False(_audit.IsAgreed(50, [s_a, s_b]));
    }

    private void Record(TrainerId id, long position, params (long Step, string? Digest)[] digests) =>
        _audit.Record(id, position, 0, [.. digests.Select(one => new StateDigest(1, one.Step, one.Digest))]);
}

// Goal: a notice is acted on once, failing polls become rarer and are reported once, and a drain ends before the node
// does. Method: poll results and times, given to the pure state.
using Atelier.Silo.Hosting.Preemption;
using Xunit;

namespace Atelier.Silo.Tests.Hosting.Preemption;

public sealed class PreemptionStateTests
{
    private static readonly DateTimeOffset s_now = DateTimeOffset.UnixEpoch.AddYears(60);
    private static readonly PreemptionNotice s_notice = new("taken", s_now.AddSeconds(30));

    private readonly PreemptionState _state = new(TimeSpan.FromSeconds(1));

    [Fact]
    public void ANotice_IsActedOnOnce_AndStays_WhenItIsWithdrawn()
    {
        Assert.Equal(PreemptionChange.None, _state.Polled(null));
        Assert.Equal(PreemptionChange.Noticed, _state.Polled(s_notice));
        Assert.Equal(PreemptionChange.None, _state.Polled(s_notice with { }));
        Assert.Equal(PreemptionChange.Withdrawn, _state.Polled(null));
        Assert.Equal(PreemptionChange.None, _state.Polled(null));
        Assert.Equal((false, s_notice), (_state.IsInEffect, _state.Notice));
        Assert.Equal(PreemptionChange.None, _state.Polled(s_notice));
        Assert.True(_state.IsInEffect);
    }

    [Fact]
    public void FailingPolls_AreReportedOnce_AndBecomeRarer()
    {
        var pauses = new List<double> { _state.Pause.TotalSeconds };
        for (int i = 0; i < 40; i++)
        {
            Assert.Equal(i == 0 ? PreemptionChange.Failing : PreemptionChange.None, _state.Failed());
            pauses.Add(_state.Pause.TotalSeconds);
        }

        Assert.Equal([1, 2, 4, 8, 10, 10], pauses.Take(6));
        Assert.Equal(10, pauses[^1]);
        Assert.Equal(PreemptionChange.Recovered, _state.Polled(null));
        Assert.Equal(PreemptionChange.Failing, _state.Failed());

        // A notice counts more than the recovery.
        Assert.Equal(PreemptionChange.Noticed, _state.Polled(s_notice));
        Assert.Equal(1, _state.Pause.TotalSeconds);
    }

    [Fact]
    public void AFailingPoll_DoesNotWithdrawANotice()
    {
        _state.Polled(s_notice);
        _state.Failed();
        Assert.True(_state.IsInEffect);
    }

    [Theory]
    [InlineData(30, 25)]
    [InlineData(3, 0)]
    [InlineData(-60, 0)]
    public void ADrain_EndsBeforeTheNodeDoes(int seconds, int expected)
    {
        Assert.Null(_state.DrainTime(s_now));
        _state.Polled(s_notice with { NotBefore = s_now.AddSeconds(seconds) });
        Assert.Equal(TimeSpan.FromSeconds(expected), _state.DrainTime(s_now));
    }

    [Fact]
    public void ANoticeWithoutATime_LimitsTheDrainByItsOwnLimitsAlone()
    {
        _state.Polled(s_notice with { NotBefore = null });
        Assert.Null(_state.DrainTime(s_now));
    }
}

// Goal: retention counts time in which the cluster ran, and nothing else makes it faster. Method: a clock whose wall
// time and monotonic time are set by hand.
using Atelier.Grains.OpenSets;
using Xunit;

namespace Atelier.Grains.Tests.OpenSets;

public sealed class RetentionClockTests
{
    private readonly RetentionOptions _options = new() { Generations = TimeSpan.FromHours(5) };
    private readonly HandClock _hand = new();

    [Fact]
    public void NewPartition_StartsAtTheWallClock_AndNothingEarlierIsDue()
    {
        var state = new OpenSetState();
        RetentionClock clock = Clock(state);
        Assert.Equal(1000, clock.Hour);
        Assert.Equal(999, state.ForgottenHour);
        Assert.Equal(994, clock.DueHour);
    }

    [Fact]
    public void PartitionOfFormat0_ResumesItsRetention_WhateverTheWallClockSays()
    {
        foreach (int wall in new[] { 0, 100, 5000 })
        {
            _hand.Wall = DateTimeOffset.UnixEpoch.AddHours(wall);
            var state = new OpenSetState { ForgottenHour = 700 };
            RetentionClock clock = Clock(state);
            Assert.Equal(706, clock.Hour);
            Assert.Equal(state.ForgottenHour, clock.DueHour);
        }
    }

    [Fact]
    public void WallClockThatJumps_ChangesNothing()
    {
        var state = new OpenSetState();
        RetentionClock clock = Clock(state);
        foreach (int days in new[] { 8, -16, 4000 })
        {
            _hand.Wall += TimeSpan.FromDays(days);
            clock.Advance();
            Assert.Equal(1000, Clock(state).Hour);
        }
    }

    [Fact]
    public void EndingsOfAnHour_AreDue_OnceTheirRetentionHasPassedSinceItsEnd()
    {
        var state = new OpenSetState();
        RetentionClock clock = Clock(state);
        int minutes = 0;
        while (clock.DueHour < 1000)
        {
            _hand.Monotonic += TimeSpan.FromMinutes(1);
            clock.Advance();
            minutes++;
        }

        Assert.Equal(60 + (5 * 60), minutes);
    }

    [Fact]
    public void AStepTooLong_CountsAsTheLongest_AndOneBackwardsAsNone()
    {
        var state = new OpenSetState();
        RetentionClock clock = Clock(state);
        long before = state.RetentionSeconds;
        _hand.Monotonic += TimeSpan.FromDays(7);
        clock.Advance();
        Assert.Equal(before + 120, state.RetentionSeconds);
        _hand.Monotonic -= TimeSpan.FromDays(1);
        clock.Advance();
        Assert.Equal(before + 120, state.RetentionSeconds);
    }

    [Fact]
    public void PartsOfASecond_AddUp()
    {
        var state = new OpenSetState();
        RetentionClock clock = Clock(state);
        long before = state.RetentionSeconds;
        for (int i = 0; i < 10; i++)
        {
            _hand.Monotonic += TimeSpan.FromSeconds(0.7);
            clock.Advance();
        }

        Assert.Equal(before + 7, state.RetentionSeconds);
    }

    [Fact]
    public void TimeInWhichNobodyLooked_DoesNotCount_AfterARestart()
    {
        var state = new OpenSetState();
        RetentionClock clock = Clock(state);
        _hand.Monotonic += TimeSpan.FromMinutes(1);
        clock.Advance();
        long before = state.RetentionSeconds;
        _hand.Monotonic += TimeSpan.FromDays(30);
        Clock(state).Advance();
        Assert.Equal(before, state.RetentionSeconds);
    }

    private RetentionClock Clock(OpenSetState state) => new(state, _options, _hand);

    private sealed class HandClock : TimeProvider
    {
        public DateTimeOffset Wall { get; set; } = DateTimeOffset.UnixEpoch.AddHours(1000);

        public TimeSpan Monotonic { get; set; } = TimeSpan.FromDays(1);

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => Wall;

        public override long GetTimestamp() => Monotonic.Ticks;
    }
}

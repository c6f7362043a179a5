// Goal: training waits while the device draws pictures, and for the stated time after the last one.
using Atelier.Grains.Pools;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Atelier.Grains.Tests.Pools;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class DeviceShareTests
{
    private static readonly TimeSpan s_after = TimeSpan.FromSeconds(2);

    private readonly FakeTimeProvider _clock = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task DeviceThatNeverDrew_IsFree()
    {
        DeviceShare share = New();
        await share.WhenFreeAsync(Cancellation);
        Assert.Equal(TimeSpan.Zero, share.Serving);
    }

    [Fact]
    public async Task Training_WaitsForPictures_AndForThePauseAfterThem()
    {
        DeviceShare share = New();
        share.SetServing(true);
        Task free = share.WhenFreeAsync(Cancellation);
        _clock.Advance(TimeSpan.FromHours(3));
        Assert.False(free.IsCompleted);
        Assert.Equal((TimeSpan.FromHours(3), TimeSpan.Zero), (share.Serving, share.Idle));
        share.SetServing(false);
        _clock.Advance(s_after - TimeSpan.FromSeconds(1));
        Assert.False(free.IsCompleted);
        Assert.Equal(TimeSpan.FromHours(3) + TimeSpan.FromSeconds(1), share.Serving); // The pause counts.
        _clock.Advance(TimeSpan.FromSeconds(1));
        await free;
        Assert.Equal((TimeSpan.Zero, s_after), (share.Serving, share.Idle));
    }

    [Fact]
    public async Task PictureDuringThePause_ContinuesTheSameLoan()
    {
        DeviceShare share = New();
        share.SetServing(true);
        _clock.Advance(TimeSpan.FromSeconds(5));
        share.SetServing(false);
        Task free = share.WhenFreeAsync(Cancellation);
        _clock.Advance(TimeSpan.FromSeconds(1));
        share.SetServing(true);
        _clock.Advance(TimeSpan.FromSeconds(10));
        Assert.False(free.IsCompleted);
        Assert.Equal(TimeSpan.FromSeconds(16), share.Serving);
        share.SetServing(false);
        _clock.Advance(s_after);
        await free;
        share.SetServing(true);
        Assert.Equal(TimeSpan.Zero, share.Serving); // A new loan.
    }

    [Fact]
    public async Task WaitEnds_WhenItIsCancelled()
    {
        DeviceShare share = New();
        share.SetServing(true);
        using var cancelled = new CancellationTokenSource();
        Task free = share.WhenFreeAsync(cancelled.Token);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => free);
    }

    private DeviceShare New() => new(s_after, _clock);
}
#pragma warning restore VSTHRD003

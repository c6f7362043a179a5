// Goal: a device has one owner at a time; the next waiter gets it when the owner returns it, is cancelled or has
// finished its work; and nobody waits for a lane that is closed or lost. Method: a lane without a device, whose work
// the tests block.
using System.Diagnostics.Metrics;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Silo.Devices;
using Atelier.Silo.Tests.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Silo.Tests.Devices;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class DeviceLaneTests : IDisposable
{
    // Milliseconds after which a test that still waits has failed.
    private const int Patience = 60_000;

    private static readonly TimeSpan s_limit = TimeSpan.FromHours(1);

    private readonly TaskCompletionSource<Exception> _fault = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly DeviceLane _lane;

    public DeviceLaneTests() =>
        _lane = new DeviceLane("lane", () => { }, TimeProvider.System, _fault.SetResult, waitersMax: 3);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _lane.Dispose();

    [Fact(Timeout = Patience)]
    public async Task Lane_HasOneOwner_AndTheLongestWaitEndsWithTheLoan()
    {
        DeviceLoan first = await AcquireAsync("first");
        Assert.False(first.IsWanted);
        Task<DeviceLoan> second = AcquireAsync("second"), third = AcquireAsync("third");
        Assert.True(first.IsWanted);
        Assert.Equal(1, await first.RunAsync("work", s_limit, () => 1));
        Assert.False(second.IsCompleted || third.IsCompleted);
        first.Dispose();
        Assert.Equal("second", (await second).Owner);
        first.Dispose(); // The loan has ended already.
        Assert.False(third.IsCompleted);
        (await second).Dispose();
        Assert.False((await third).IsWanted);
        Assert.True(await (await third).RunAsync("work", s_limit, () => _lane.IsCurrent));
        Assert.False(_lane.IsCurrent);
    }

    [Fact(Timeout = Patience)]
    public async Task LaneThatIsGivenBackDuringWork_PassesOnWithItsEnd()
    {
        using var work = new HeldWork();
        DeviceLoan first = await AcquireAsync("first");
        Task<int> result = first.RunAsync("work", s_limit, work.Do);
        await work.HasBegun;
        Task<DeviceLoan> second = AcquireAsync("second");
        first.Dispose();
        Assert.False(second.IsCompleted);
        work.End();
        Assert.Equal(HeldWork.Result, await result);
        Assert.Equal(2, await (await second).RunAsync("work", s_limit, () => 2));
    }

    [Fact(Timeout = Patience)]
    public async Task OwnerThatIsCancelled_GivesTheLaneBack_AfterTheWorkThatHasBegun()
    {
        using var work = new HeldWork();
        using var cancellation = new CancellationTokenSource();
        DeviceLoan first = await _lane.AcquireAsync("first", cancellation.Token);
        Task<int> result = first.RunAsync("work", s_limit, work.Do);
        await work.HasBegun;
        Task<DeviceLoan> second = AcquireAsync("second");
        await cancellation.CancelAsync();
        Assert.False(second.IsCompleted);
        work.End();
        Assert.Equal(HeldWork.Result, await result);
        Assert.Equal("second", (await second).Owner);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.RunAsync("work", s_limit, () => 1));
    }

    [Fact(Timeout = Patience)]
    public async Task IdleOwnerThatIsCancelled_GivesTheLaneBackAtOnce()
    {
        using var cancellation = new CancellationTokenSource();
        await _lane.AcquireAsync("first", cancellation.Token);
        Task<DeviceLoan> second = AcquireAsync("second");
        await cancellation.CancelAsync();
        Assert.Equal("second", (await second).Owner);
    }

    [Fact(Timeout = Patience)]
    public async Task WaiterThatIsCancelled_LeavesTheLine()
    {
        using var cancellation = new CancellationTokenSource();
        DeviceLoan first = await AcquireAsync("first");
        Task<DeviceLoan> second = _lane.AcquireAsync("second", cancellation.Token), third = AcquireAsync("third");
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        first.Dispose();
        Assert.Equal("third", (await third).Owner);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => _lane.AcquireAsync("fourth", cancellation.Token));
    }

    [Fact(Timeout = Patience)]
    public async Task WorkOfWhoDoesNotOwnTheLane_IsRefused()
    {
        int done = 0;
        DeviceLoan first = await AcquireAsync("first");
        first.Dispose();
        await Assert.ThrowsAsync<InvalidOperationException>(() => first.RunAsync("work", s_limit, () => ++done));
        using DeviceLoan second = await AcquireAsync("second");
        await Assert.ThrowsAsync<InvalidOperationException>(() => first.RunAsync("work", s_limit, () => ++done));
        Assert.Equal(1, await second.RunAsync("work", s_limit, () => ++done));
    }

    [Fact(Timeout = Patience)]
    public async Task SecondPieceOfWorkAtATime_IsRefused()
    {
        using var work = new HeldWork();
        using DeviceLoan loan = await AcquireAsync("first");
        Task<int> result = loan.RunAsync("work", s_limit, work.Do);
        await work.HasBegun;
        await Assert.ThrowsAsync<InvalidOperationException>(() => loan.RunAsync("more", s_limit, () => 1));
        work.End();
        await result;
        Assert.Equal(1, await loan.RunAsync("more", s_limit, () => 1));
    }

    [Fact(Timeout = Patience)]
    public async Task WorkThatFails_FailsAlone()
    {
        using DeviceLoan loan = await AcquireAsync("first");
        await Assert.ThrowsAsync<FormatException>(
            () => loan.RunAsync<int>("work", s_limit, () => throw new FormatException()));
        Assert.Equal(1, await loan.RunAsync("work", s_limit, () => 1));
    }

    [Fact(Timeout = Patience)]
    public async Task WhereTooManyWait_TheNextIsRefusedAtOnce()
    {
        DeviceLoan owner = await AcquireAsync("owner");
        using var cancellation = new CancellationTokenSource();
        Task<DeviceLoan>[] waiting =
            [AcquireAsync("first"), AcquireAsync("second"), _lane.AcquireAsync("third", cancellation.Token)];
        DeviceBusyException error = await Assert.ThrowsAsync<DeviceBusyException>(() => AcquireAsync("fourth"));
        Assert.Equal("The device is in use for owner, and 3 callers are waiting for it.", error.Message);
        await cancellation.CancelAsync();
        Task<DeviceLoan> fifth = AcquireAsync("fifth");
        owner.Dispose();
        (await waiting[0]).Dispose();
        (await waiting[1]).Dispose();
        Assert.Equal("fifth", (await fifth).Owner);
    }

    [Fact(Timeout = Patience)]
    public async Task ClosingTheLane_AnswersTheWaiters_AndFinishesTheWork()
    {
        using var work = new HeldWork();
        DeviceLoan owner = await AcquireAsync("owner");
        Task<int> result = owner.RunAsync("work", s_limit, work.Do);
        await work.HasBegun;
        Task<DeviceLoan> first = AcquireAsync("first"), second = AcquireAsync("second");
        Task closing = Task.Run(_lane.Dispose, Cancellation);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => first);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => second);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => AcquireAsync("third"));
        Assert.False(closing.IsCompleted);
        work.End();
        Assert.Equal(HeldWork.Result, await result);
        await closing;
        await Assert.ThrowsAsync<ObjectDisposedException>(() => owner.RunAsync("work", s_limit, () => 1));
        owner.Dispose();
        _lane.Free(() => Assert.Fail("The thread has ended."));
    }

    [Fact(Timeout = Patience)]
    public async Task LosingTheDevice_AnswersTheWaiters()
    {
        using var work = new HeldWork();
        DeviceLoan owner = await AcquireAsync("owner");
        Task<int> result = owner.RunAsync<int>("work", s_limit, () =>
        {
            work.Do();
            throw new DeviceLostException("It is gone.");
        });
        await work.HasBegun;
        Task<DeviceLoan> first = AcquireAsync("first");
        work.End();
        await Assert.ThrowsAsync<DeviceLostException>(() => result);
        await Assert.ThrowsAsync<InvalidOperationException>(() => first);
        await Assert.ThrowsAsync<InvalidOperationException>(() => AcquireAsync("second"));
        Assert.IsType<DeviceLostException>(await _fault.Task);
    }

    [Fact(Timeout = Patience)]
    public async Task WhatIsFreed_IsFreedOnTheThread_WithoutALoan_AfterTheWorkThatHasBegun()
    {
        using var work = new HeldWork();
        using DeviceLoan owner = await AcquireAsync("owner");
        Task<int> result = owner.RunAsync("work", s_limit, work.Do);
        await work.HasBegun;
        bool? isCurrent = null;
        _lane.Free(() => isCurrent = _lane.IsCurrent);
        Assert.Null(isCurrent);
        work.End();
        await result;
        Assert.True(await owner.RunAsync("work", s_limit, () => isCurrent));
        _lane.Free(() => throw new FormatException("no"));
        Assert.Equal("The device could not free memory: no", (await _fault.Task).Message);
    }

    [Fact(Timeout = Patience)]
    public async Task Lane_MeasuresWorkAndWaits_ByUse_AndWhoWaits()
    {
        await using ServiceProvider services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        IMeterFactory meters = services.GetRequiredService<IMeterFactory>();
        var time = new FakeTime();
        using var lane = new DeviceLane(
            "lane", () => { }, time, _fault.SetResult, waitersMax: 2, new DeviceInstruments(meters));
        using var measurements = new Measurements(meters);
        using var cancellation = new CancellationTokenSource();
        DeviceLoan pictures = await lane.AcquireAsync("pictures", Cancellation);
        Task<DeviceLoan> training = lane.AcquireAsync("training", Cancellation);
        Task<DeviceLoan> cancelled = lane.AcquireAsync("pictures", cancellation.Token);
        await Assert.ThrowsAsync<DeviceBusyException>(() => lane.AcquireAsync("pictures", Cancellation));
        Assert.Equal(2, Waiting());
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        Assert.Equal(1, Waiting());

        await pictures.RunAsync("work", s_limit, () =>
        {
            time.Advance(TimeSpan.FromSeconds(3));
            return true;
        });
        pictures.Dispose();
        await training;
        Assert.Equal(0, Waiting());
        Assert.Equal(3, measurements["atelier.device.work.duration{atelier.device.use=pictures}"]);
        Assert.Equal(0, measurements["atelier.device.wait.duration{atelier.device.use=pictures}"]);
        Assert.Equal(3, measurements["atelier.device.wait.duration{atelier.device.use=training}"]);
        Assert.Equal(1, measurements["atelier.device.refused"]);

        Task<DeviceLoan> last = lane.AcquireAsync("pictures", Cancellation);
        lane.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => last);
        Assert.Equal(0, Waiting());

        double Waiting()
        {
            measurements.Observe();
            return measurements["atelier.device.waiting"];
        }
    }

    [Fact(Timeout = Patience)]
    public async Task ManyOwners_WithLoansThatAreCancelled_NeverOverlap_AndAllGetTheirTurns()
    {
        using var lane = new DeviceLane("lane", () => { }, TimeProvider.System, _fault.SetResult);
        int owners = 0, most = 0, turns = 0;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(seed => Task.Run(async () =>
        {
            var random = new Random(seed);
            for (int turn = 0; turn < 200; turn++)
            {
                using var cancellation = new CancellationTokenSource();
                Task<DeviceLoan> wait = lane.AcquireAsync($"{seed}", cancellation.Token);
                if (random.Next(4) == 0)
                {
                    await cancellation.CancelAsync();
                }

                try
                {
                    using DeviceLoan loan = await wait;
                    most = Math.Max(most, await loan.RunAsync("begin", s_limit, () => ++owners));
                    await Task.Yield();
                    await loan.RunAsync("end", s_limit, () => --owners);
                    Interlocked.Increment(ref turns);
                }
                catch (OperationCanceledException)
                {
                    // It has cancelled itself.
                }
            }
        }, Cancellation)));
        Assert.Equal((0, 1), (owners, most));
        Assert.InRange(turns, 8 * 100, 8 * 200);
        using DeviceLoan last = await lane.AcquireAsync("last", Cancellation);
        Assert.False(_fault.Task.IsCompleted);
    }

    private Task<DeviceLoan> AcquireAsync(string owner) => _lane.AcquireAsync(owner, Cancellation);

    /// <summary>Work that lasts until a test ends it.</summary>
    private sealed class HeldWork : IDisposable
    {
        public const int Result = 17;

        private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly ManualResetEventSlim _end = new();

        public Task HasBegun => _begun.Task;

        public int Do()
        {
            _begun.TrySetResult();
            _end.Wait(CancellationToken.None);
            return Result;
        }

        public void End() => _end.Set();

        public void Dispose()
        {
            _end.Set();
            _end.Dispose();
        }
    }
}
#pragma warning restore VSTHRD003

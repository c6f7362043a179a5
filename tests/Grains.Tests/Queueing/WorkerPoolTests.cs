// Goal: a pool knows what its workers may do and hold, and its pace is that of the last half minute. Method: the pool
// alone; the pace by its closed form.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class WorkerPoolTests
{
    private static readonly ModelDigest s_one = Work.Model(1), s_two = Work.Model(2);

    private readonly WorkerPool _pool = new(
        new WorkerKind(WorkRoles.Encode | WorkRoles.Denoise, "cpu", ""), [s_one, s_two]);

    [Theory]
    [InlineData(1, WorkKind.Denoise, null, true)]
    [InlineData(1, WorkKind.Denoise, "cpu", true)]
    [InlineData(1, WorkKind.Denoise, "cuda", false)]
    [InlineData(1, WorkKind.Encode, null, true)]
    [InlineData(1, WorkKind.Decode, null, false)]
    [InlineData(3, WorkKind.Denoise, null, false)]
    public void RolesModelsAndDeviceKind_DecideWhatFits(int model, WorkKind kind, string? device, bool fits)
    {
        foreach (bool alone in new[] { false, true })
        {
            Assert.Equal(fits, _pool.Fits(new WorkClass(Work.Model(model), kind, device, alone)));
        }
    }

    [Fact]
    public void WhatWorkersHave_IsCounted_AndTakenBack()
    {
        var worker = new QueueWorker("w")
        {
            Models = [new(s_one, ModelPlace.Loaded), new(s_two, ModelPlace.Loading)], Spare = 3,
        };
        worker.SetLoading(s_two, Work.Start);
        for (int i = 1; i <= 2; i++)
        {
            _pool.Count(worker, 1);
            Assert.Equal((i, 3 * i, 0), Supply(s_one));
            Assert.Equal((0, 0, i), Supply(s_two));
        }

        _pool.Count(worker, -1);
        _pool.Count(worker, -1);
        Assert.Equal((0, 0, 0), Supply(s_one));
        Assert.Equal((0, 0, 0), Supply(s_two));

        (int, int, int) Supply(ModelDigest model) =>
            (_pool.Supply(model).Workers, _pool.Supply(model).Spare, _pool.Supply(model).Loading);
    }

    [Fact]
    public void Pace_IsNotKnown_BeforeAnyTimeHasPassed()
    {
        var pace = new Pace();
        Assert.Equal(0, pace.At(Work.Start));
        pace.Add(10, Work.Start);
        Assert.Equal(0, pace.At(Work.Start));
        Assert.Equal(0, pace.At(Work.Start.AddSeconds(-1)));
    }

    [Fact]
    public void ASteadyPace_IsFound_FromTheFirstSecondsOn()
    {
        var pace = new Pace();
        for (int i = 0; i < 3000; i++)
        {
            pace.Add(0.7, Work.Start.AddSeconds(0.1 * i));
            if (i > 50)
            {
                Assert.InRange(pace.At(Work.Start.AddSeconds(0.1 * (i + 1))), 6.9, 7.1);
            }
        }
    }

    // 100 operations once: after t seconds 100 exp(-t/30) of them count, over 30 (1 - exp(-t/30)) seconds.
    [Theory]
    [InlineData(1)]
    [InlineData(30)]
    [InlineData(90)]
    public void WhatWasGranted_FadesOverHalfAMinute(double t)
    {
        var pace = new Pace();
        pace.Add(100, Work.Start);
        double left = Math.Exp(-t / 30);
        Assert.Equal(100 * left / (30 * (1 - left)), pace.At(Work.Start.AddSeconds(t)), 9);
        pace.Add(40, Work.Start.AddSeconds(t));
        Assert.Equal(((100 * left) + 40) / (30 * (1 - left)), pace.At(Work.Start.AddSeconds(t)), 9);
    }
}

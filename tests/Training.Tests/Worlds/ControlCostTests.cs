// Goal: the cost of control depends neither on the rate of the steps nor on their number: each of a thousand trainers
// calls a grain at most once a second, and the stored record does not grow. Method: the simulated stage at two step
// rates, and the size of the stored record.
using System.Text.Json;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Worlds;

public sealed class ControlCostTests
{
    [Fact]
    public void AThousandTrainers_CallOnceASecond_WhateverTheStepRate()
    {
        const int trainers = 1000, seconds = 20;
        long[] applied = new long[2];
        for (int i = 0; i < 2; i++)
        {
            var run = new WorldSimulation(1, 64, trainers, Faults.None) { Slowness = i == 0 ? 800 : 200 };
            run.Run(TimeSpan.FromSeconds(20));
            (long calls, long steps) = (run.Calls, run.Trainers.Max(one => one.Replica.Position));
            run.Run(run.Now + TimeSpan.FromSeconds(seconds));
            applied[i] = run.Trainers.Max(one => one.Replica.Position) - steps;
            Assert.InRange((run.Calls - calls) / (double)(trainers * seconds), 0.9, 1.02);
        }

        Assert.True(applied[1] > 2 * applied[0], $"{applied[0]} and {applied[1]} steps");
    }

    [Fact]
    public void WhatIsStored_DoesNotGrowWithSteps()
    {
        var run = new WorldSimulation(1, 8, 3, Faults.None);
        run.Run(TimeSpan.FromSeconds(30));
        int early = Size(run.Stored);
        run.Run(TimeSpan.FromMinutes(10));
        Assert.True(run.Stored.SafeStep > 1000);
        Assert.InRange(Size(run.Stored), early - 10, early + 10);
    }

    private static int Size(WorldRecord record) => JsonSerializer.SerializeToUtf8Bytes(record).Length;
}

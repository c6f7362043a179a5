// Goal: nothing is kept from one forward pass, or one training step, to the next. Method: many of each, with the number of
// live tensors and the process's resident memory watched. Runs alone, since memory is the whole process's.
using System.Globalization;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Training;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Training;

[CollectionDefinition(nameof(LongRunTests), DisableParallelization = true)]
public sealed class LongRunTestsRunAlone;

[Collection(nameof(LongRunTests))]
public sealed class LongRunTests
{
    // Far more than allocators and the collector's youngest generation sway; 1 % of what 200 leaked passes would hold.
    private const long GrowthMax = 16L << 20;

    [Fact]
    public void ManyForwardPasses_KeepNoTensorsAndNoMemory()
    {
        using MicroDiT network = SmallNetworks.Filled(SmallNetworks.Realistic);
        using CaptionContext first = Caption(1), second = Caption(2);
        using var denoiser = new Denoiser(network, new Edm(), width: 2);
        double[] x = [.. SmallNetworks.Normal(3, denoiser.LatentLength).Select(v => (double)v)];
        Watch(200, i => denoiser.Evaluate([new DenoiserRequest(new(x, 1, 1 + (i % 2)), i % 3 == 0 ? first : second, first)]));

        CaptionContext Caption(ulong seed)
        {
            using var inference = inference_mode();
            using Tensor features = SmallNetworks.Normal(seed, [1, 77, 96]);
            return network.Caption(features);
        }
    }

    [Fact]
    public void ManyTrainingSteps_KeepNoTensorsAndNoMemory()
    {
        (MicroDiT network, TrainingEngine engine) = ToyRun.Worker(ToyRun.Settings);
        using var owner = network;
        using var second = engine;
        Watch(50, step => engine.Apply(step, engine.ComputeBatch(step)));
    }

    private static void Watch(int iterations, Action<int> body)
    {
        long live = 0, resident = 0;
        for (int i = 0; i < iterations; i++)
        {
            body(i);
            (live, resident) = i switch
            {
                4 => (DisposeScopeManager.Statistics.ThreadTotalLiveCount, 0),
                20 => (live, Resident()),
                _ => (live, resident),
            };
            long now = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
            Assert.True(i < 5 || now == live, $"pass {i} left {now - live} tensors behind");
        }

        Assert.InRange(Resident() - resident, long.MinValue, GrowthMax);
    }

    // Without the managed heap: how far its youngest generation grows depends on the processor's caches.
    private static long Resident()
    {
        GC.Collect();
        string line = File.ReadLines("/proc/self/status").Single(line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return (1024 * long.Parse(line[6..^3], CultureInfo.InvariantCulture)) - GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes;
    }
}

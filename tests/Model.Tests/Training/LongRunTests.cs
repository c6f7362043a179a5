// Goal: nothing is kept from one forward pass, or one training step, to the next. Method: many of each, while the
// number of live tensors and the bytes allocated outside the managed heap are watched. Runs alone, since memory belongs
// to the whole process.
using System.Runtime.InteropServices;
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
    // Far more than kernel caches vary; 1 % of what 200 leaked passes would hold.
    private const long GrowthMax = 16L << 20;

    [Fact]
    public void ManyForwardPasses_KeepNoTensorsAndNoMemory()
    {
        using MicroDiT network = SmallNetworks.Filled(SmallNetworks.Realistic);
        using CaptionContext first = Caption(1), second = Caption(2);
        using var denoiser = new Denoiser(network, new Edm(), width: 2);
        double[] x = [.. SmallNetworks.Normal(3, denoiser.LatentLength).Select(v => (double)v)];
        Watch(
            200,
            i => denoiser.Evaluate([new DenoiserRequest(new(x, 1, 1 + (i % 2)), i % 3 == 0 ? first : second, first)]));

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
        long live = 0, allocated = 0;
        for (int i = 0; i < iterations; i++)
        {
            body(i);
            (live, allocated) = i switch
            {
                4 => (DisposeScopeManager.Statistics.ThreadTotalLiveCount, 0),
                20 => (live, Allocated()),
                _ => (live, allocated),
            };
            long now = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
            Assert.True(i < 5 || now == live, $"pass {i} left {now - live} tensors behind");
        }

        Assert.InRange(Allocated() - allocated, long.MinValue, GrowthMax);
    }

    // Bytes handed out by the C library's allocator: libtorch allocates there, the collector does not. A process's
    // resident memory also changes when the collector returns pages or an arena keeps them.
    private static long Allocated()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        MallInfo info = mallinfo2();
        return checked((long)(info.InUse + info.Mapped));
    }

    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern MallInfo mallinfo2();

    // struct mallinfo2 of malloc.h, glibc 2.33.
    [StructLayout(LayoutKind.Sequential)]
    private readonly struct MallInfo
    {
        private readonly nuint _arena, _freeChunks, _fastChunks, _mappedCount;
        public readonly nuint Mapped;
        private readonly nuint _trimmed, _fastFree;
        public readonly nuint InUse;
        private readonly nuint _free, _releasable;
    }
}

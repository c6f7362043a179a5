// Goal: the collector never frees a number that libtorch still reads. Method: operations with plain numbers, explicit
// and hidden, while another thread does nothing but collect. Runs alone, so as not to disturb other tests' memory.
using Atelier.Model.Tests.Training;
using Atelier.Model.Tests.Verify;
using Atelier.Model.Training;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Runtime;

[Collection(nameof(LongRunTests))]
public sealed class GarbageCollectionTests
{
    [Fact]
    public void NumbersOfAnOperation_LiveUntilItIsDone()
    {
        using var inference = inference_mode();
        using Tensor x = ones(8), y = full(8, 2f), z = full(8, 3f);
        WhileCollecting(() =>
        {
            for (int i = 0; i < 100_000; i++)
            {
                using var scope = NewDisposeScope();
                Assert.Equal(7, addcmul(x, y, z, 1).data<float>()[0]);
                Assert.Equal(3, (x + y).data<float>()[0]);
                Assert.Equal(5, (x * 5).data<float>()[0]);
            }
        });
    }

    [Fact]
    public void NumbersOfAnUpdate_LiveUntilItIsDone()
    {
        byte[] expected = Updated(), collected = [];
        WhileCollecting(() => collected = Updated());
        Assert.Equal(expected, collected);

        static byte[] Updated()
        {
            using var scope = NewDisposeScope();
            Tensor parameters = linspace(-1, 1, 64), gradient = linspace(2, -3, 64);
            using var optimizer = new AdamW(new AdamWSettings(), parameters);
            for (int i = 0; i < 10_000; i++)
            {
                optimizer.Update(parameters, gradient, 1e-4);
            }

            return FormulaCase.Bits(parameters);
        }
    }

    private static void WhileCollecting(Action work)
    {
        bool stop = false;
        var collector = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                GC.Collect(0);
                GC.WaitForPendingFinalizers();
            }
        });
        collector.Start();
        try
        {
            work();
        }
        finally
        {
            Volatile.Write(ref stop, true);
            collector.Join();
        }
    }
}

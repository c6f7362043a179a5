// Goal: a step changes weights, average and moments by the formulas of its settings, bit for bit, whichever training
// uses it. Method: the same gradients through plain tensors and a separate optimizer.
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Verify;
using Atelier.Model.Training;
using Atelier.Model.Weights;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Training;

public sealed class MasterWeightsTests
{
    private const int Steps = 14;
    private static readonly StateNames s_names = new("w", "a", "m", "v");

    [Theory]
    [InlineData(ScalarType.Float32, 0, true, 1)] // The parts of the demo model.
    [InlineData(ScalarType.BFloat16, 0, true, 1)]
    [InlineData(ScalarType.Float32, 3, false, 16)] // Stages.
    [InlineData(ScalarType.BFloat16, 0, false, 16)]
    public void Update_IsItsFormulas_ToTheBit(ScalarType compute, long start, bool ramps, long samples)
    {
        using var scope = NewDisposeScope();
        using Linear network = Filled(7, 5);
        var optimizer = new AdamWSettings { Beta2 = 0.98, WeightDecay = 0.05 };
        using var master = new MasterWeights(network, compute, new UpdateSettings
        {
            Optimizer = optimizer, ClipNorm = 0.5, Average = new AverageSettings(0.9, start, ramps),
        });
        Tensor weights = master.Weights.detach().clone(), average = weights.clone();
        using var adam = new AdamW(optimizer, weights);
        using var noGradients = no_grad();
        for (int step = 0; step < Steps; step++)
        {
            Tensor gradient = SmallNetworks.Normal((ulong)step, [40]) * (step % 2 == 0 ? 0.01f : 3);
            double norm = linalg.norm(gradient).item<float>() / (double)samples;
            master.Update(step, gradient.clone(), samples, norm, 1e-2);
            adam.Update(weights, gradient * (float)(Math.Min(1, 0.5 / (norm + 1e-6)) / samples), 1e-2);
            double smoothing = ramps ? Math.Min(0.9, (step + 1.0) / (step + 10.0)) : 0.9;
            average = step < start ? weights.clone() : average.lerp(weights, 1 - smoothing);
            AssertEqual(weights, master.Weights);
            AssertEqual(average, master.Average!);
            AssertEqual(adam.SecondMoment, master.Optimizer.SecondMoment);
            AssertEqual(weights.to(compute).to(ScalarType.Float32), master.Computing.Values.to(ScalarType.Float32));
        }

        Assert.Equal(Steps, master.Optimizer.Updates);
    }

    [Fact]
    public void RampedAverage_StartsWithFewWeights_AndEndsWithItsSmoothing()
    {
        var average = new AverageSettings(0.9, Ramps: true);
        Assert.Equal(0.1, average.At(0), 1e-12);
        Assert.Equal(0.5, average.At(8), 1e-12);
        Assert.Equal(0.9, average.At(1000));
    }

    [Fact]
    public void State_WrittenAndRestored_ContinuesAsBefore()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        string path = folder["state.safetensors"];
        string expected = "";
        foreach (bool isRestored in new[] { false, true })
        {
            using Linear network = Filled(7, 5);
            using var master = new MasterWeights(
                network, ScalarType.BFloat16, new UpdateSettings { Average = new AverageSettings(0.9) });
            if (isRestored)
            {
                using SafeTensorsFile file = SafeTensorsFile.Open(path);
                Assert.Equal("yes", file.Metadata["whole"]);
                master.Restore(path, file, s_names, 2);
            }
            else
            {
                Step(master, 0);
                Step(master, 1);
                master.Save(path, s_names, new Dictionary<string, string> { ["whole"] = "yes" });
            }

            Step(master, 2);
            string bits = Convert.ToHexString(FormulaCase.Bits(cat(
                [master.Weights, master.Average!, master.Optimizer.FirstMoment, master.Optimizer.SecondMoment])));
            Assert.True(!isRestored || bits == expected);
            expected = bits;
        }

        static void Step(MasterWeights master, int step)
        {
            using Tensor gradient = SmallNetworks.Normal((ulong)step, [40]);
            master.Update(step, gradient, samples: 1, norm: 1, learningRate: 1e-2);
        }
    }

    [Fact]
    public void State_OfAnotherNetwork_IsRefused_AndChangesNothing()
    {
        using var folder = new TemporaryFolder();
        string path = folder["state.safetensors"];
        using Linear small = Filled(7, 4);
        using Linear large = Filled(7, 5);
        using var first = new MasterWeights(small, ScalarType.Float32, new UpdateSettings());
        using var second = new MasterWeights(large, ScalarType.Float32, new UpdateSettings());
        first.Save(path, s_names, new Dictionary<string, string>());
        byte[] before = FormulaCase.Bits(second.Weights);
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        var error = Assert.Throws<RefusedFileException>(() => second.Restore(path, file, s_names, 1));
        Assert.Contains("is missing or is not F32 [40]", error.Message);
        Assert.Equal(before, FormulaCase.Bits(second.Weights));
        Assert.Equal(0, second.Optimizer.Updates);
    }

    [Fact]
    public void Bound_HoldsInWeightsAndAverage_AndTheAverageIsLentToTheNetwork()
    {
        using var scope = NewDisposeScope();
        using Linear network = Filled(7, 5);
        using var master = new MasterWeights(
            network, ScalarType.Float32, new UpdateSettings { Average = new AverageSettings(0.9) });
        using (no_grad())
        {
            master.Weights.fill_(2);
            master.Average!.fill_(1);
        }

        master.Bound("bias", 0.5);
        using (master.WithAverage())
        {
            Assert.Equal(1, network.get_parameter("weight")!.max().item<float>());
            Assert.Equal(0.5, network.get_parameter("bias")!.max().item<float>());
        }

        Assert.Equal(2, network.get_parameter("weight")!.max().item<float>());
        Assert.Equal(0.5, network.get_parameter("bias")!.max().item<float>());
        using Linear copy = Filled(7, 5);
        master.CopyAverageTo(copy);
        Assert.Equal(1, copy.get_parameter("weight")!.max().item<float>());
    }

    private static Linear Filled(int inputs, int outputs)
    {
        using var noGradients = no_grad();
        var network = new Linear(inputs, outputs, bias: true);
        using Tensor weight = SmallNetworks.Normal(100, [outputs, inputs]), bias = SmallNetworks.Normal(101, [outputs]);
        network.get_parameter("weight")!.copy_(weight);
        network.get_parameter("bias")!.copy_(bias);
        return network;
    }

    private static void AssertEqual(Tensor expected, Tensor actual) =>
        Assert.Equal(FormulaCase.Bits(expected), FormulaCase.Bits(actual));
}

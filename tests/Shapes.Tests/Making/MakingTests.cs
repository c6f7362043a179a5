// Goal: the parts of the demo model are a function of their recipe alone: a stopped and resumed making ends with the
// bytes of an uninterrupted one, in either precision, whichever this processor is faster in. Method: networks of toy
// size, a handful of steps.
using System.Runtime.InteropServices;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Training;
using Atelier.Model.Weights;
using Atelier.Shapes.Making;
using Atelier.Shapes.Training;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Making;

public sealed class MakingTests : IDisposable
{
    // Makes a part, with its precision unchanged or changed.
    private delegate void Making(
        DemoParts parts, Action<PartProgress>? report, CancellationToken stop, bool changed);

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-making-").FullName;

    private readonly int _threadsBefore = torch.get_num_threads();

    public MakingTests() => torch.set_num_threads(1);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Autoencoder_StoppedAndContinued_HasTheSameBytes(bool isBFloat16)
    {
        AutoencoderTrainingConfig config = ToyParts.Autoencoder with { BFloat16 = isBFloat16 };
        DecoderTrainingConfig decoder = ToyParts.Decoder with { BFloat16 = isBFloat16 };
        AssertContinues(
            (parts, report, stop) => parts.TrainAutoencoder(config, decoder, report, stop),
            parts => parts.AutoencoderWeights);
        var finished = new DemoParts(Path.Combine(_folder, "whole"));
        using AutoencoderKL network = finished.OpenAutoencoder();
        Assert.InRange(network.Config.ScalingFactor, 1e-3, 1e3);

        // Latents that were encoded before the decoder's training continued are still valid.
        using SafeTensorsFile joint = SafeTensorsFile.Open(
            Path.Combine(_folder, "whole", "autoencoder.joint.safetensors"));
        using SafeTensorsFile last = SafeTensorsFile.Open(finished.AutoencoderWeights);
        foreach (string name in joint.Tensors.Keys)
        {
            byte[] before = new byte[joint.Tensors[name].ByteLength], after = new byte[before.Length];
            joint.ReadInto(name, before);
            last.ReadInto(name, after);
            Assert.True(name.StartsWith("decoder.", StringComparison.Ordinal) || before.SequenceEqual(after), name);
            Assert.True(name != "decoder.conv_out.weight" || !before.SequenceEqual(after), name);
        }
    }

    // The one part with so few passes that two threads on a busy processor do not wait for each other for too long.
    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 2)]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    public void Clip_StoppedAndContinued_HasTheSameBytes(bool isBFloat16, int threads)
    {
        torch.set_num_threads(threads);
        ClipTrainingConfig config = ToyParts.Clip with { BFloat16 = isBFloat16 };
        ClipTrainingConfig binding = ToyParts.Binding with { BFloat16 = isBFloat16 };
        AssertContinues(
            (parts, report, stop) => parts.TrainClip(config, binding, report, stop), parts => parts.ClipWeights);
        using ClipModel network = new DemoParts(Path.Combine(_folder, "whole")).OpenClip();
        Assert.True(network.Config.Text.NoCausalMask);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Oracle_StoppedAndContinued_HasTheSameBytes(bool isBFloat16)
    {
        OracleTrainingConfig config = ToyParts.Oracle with { BFloat16 = isBFloat16 };
        AssertContinues((parts, report, stop) => parts.TrainOracle(config, report, stop), parts => parts.OracleWeights);
    }

    // bfloat16 keeps 8 bits of a product, and the weights after a few steps are still close to those of float32.
    [Fact]
    public void Precisions_GiveOtherWeights_ButNearlyThose()
    {
        (DemoParts coarse, DemoParts fine) = (Make(isBFloat16: true), Make(isBFloat16: false));
        foreach (Func<DemoParts, string> file in new Func<DemoParts, string>[]
        {
            parts => parts.AutoencoderWeights, parts => parts.ClipWeights, parts => parts.OracleWeights,
            parts => Path.Combine(Path.GetDirectoryName(parts.AutoencoderWeights)!, "autoencoder.joint.safetensors"),
        })
        {
            float[] one = Weights(file(coarse)), other = Weights(file(fine));
            double difference = Math.Sqrt(one.Zip(other).Sum(pair => Math.Pow(pair.First - pair.Second, 2)));
            Assert.InRange(difference / Math.Sqrt(other.Sum(weight => Math.Pow(weight, 2))), 1e-6, 0.05);
        }

        DemoParts Make(bool isBFloat16)
        {
            var parts = new DemoParts(Path.Combine(_folder, $"{isBFloat16}"));
            CancellationToken token = TestContext.Current.CancellationToken;
            parts.TrainAutoencoder(
                ToyParts.Autoencoder with { BFloat16 = isBFloat16 }, ToyParts.Decoder with { BFloat16 = isBFloat16 },
                cancellation: token);
            parts.TrainClip(
                ToyParts.Clip with { BFloat16 = isBFloat16 }, ToyParts.Binding with { BFloat16 = isBFloat16 },
                cancellation: token);
            parts.TrainOracle(ToyParts.Oracle with { BFloat16 = isBFloat16 }, cancellation: token);
            return parts;
        }
    }

    // Adding a step to a bfloat16 weight would lose it: master weights must be float32 from the start.
    [Fact]
    public void Network_ThatIsNotInFloat32_IsNotTrained()
    {
        using var network = new AutoencoderKL(ToyParts.Autoencoder.Network);
        network.to(torch.ScalarType.BFloat16);
        var error = Assert.Throws<ArgumentException>(
            () => new MasterWeights(network, torch.ScalarType.BFloat16, new UpdateSettings()));
        Assert.Contains("Master weights must be float32", error.Message);
    }

    [Fact]
    public void Training_StoppedInOnePrecision_IsNotContinuedInAnother()
    {
        const string toFloat32 = "computes in bfloat16, not float32";
        const string toBFloat16 = "computes in float32, not bfloat16";

        // The first and the last step are reported; the third report of an autoencoder or a CLIP model is of
        // the first step of its second training.
        (string Name, string Says, int Reports, Making Make)[] cases =
        [
            ("autoencoder", toFloat32, 1, (parts, report, stop, changed) => parts.TrainAutoencoder(
                ToyParts.Autoencoder with { BFloat16 = !changed }, ToyParts.Decoder, report, stop)),
            ("joint", toFloat32, 3, (parts, report, stop, changed) => parts.TrainAutoencoder(
                ToyParts.Autoencoder with { BFloat16 = !changed }, ToyParts.Decoder, report, stop)),
            ("decoder", toFloat32, 3, (parts, report, stop, changed) => parts.TrainAutoencoder(
                ToyParts.Autoencoder, ToyParts.Decoder with { BFloat16 = !changed }, report, stop)),
            ("clip", toFloat32, 1, (parts, report, stop, changed) => parts.TrainClip(
                ToyParts.Clip with { BFloat16 = !changed }, ToyParts.Binding, report, stop)),
            ("contrast", toFloat32, 3, (parts, report, stop, changed) => parts.TrainClip(
                ToyParts.Clip with { BFloat16 = !changed }, ToyParts.Binding, report, stop)),
            ("binding", toFloat32, 3, (parts, report, stop, changed) => parts.TrainClip(
                ToyParts.Clip, ToyParts.Binding with { BFloat16 = !changed }, report, stop)),
            ("oracle", toFloat32, 1, (parts, report, stop, changed) => parts.TrainOracle(
                ToyParts.Oracle with { BFloat16 = !changed }, report, stop)),
            ("back", toBFloat16, 1, (parts, report, stop, changed) => parts.TrainOracle(
                ToyParts.Oracle with { BFloat16 = changed }, report, stop)),
        ];
        foreach ((string name, string says, int reports, Making make) in cases)
        {
            var parts = new DemoParts(Path.Combine(_folder, name));
            using var stop = new CancellationTokenSource();
            int heard = 0;
            Assert.Throws<OperationCanceledException>(() => make(parts, _ => StopAt(reports), stop.Token, false));
            string[] before = Directory.GetFiles(Path.Combine(_folder, name));
            var error = Assert.Throws<Model.RefusedFileException>(
                () => make(parts, null, CancellationToken.None, true));
            Assert.Contains(says, error.Message);
            Assert.Equal(before, Directory.GetFiles(Path.Combine(_folder, name)));

            void StopAt(int report)
            {
                if (++heard == report)
                {
                    stop.Cancel();
                }
            }
        }
    }

    // Checkpoints contain these texts, and so does the oracle's file: another order would reject existing ones.
    [Fact]
    public void Recipes_AreWrittenInTheOrderThatCheckpointsHold()
    {
        Assert.Equal(
            """{"Steps":8000,"Batch":64,"LearningRate":0.003,"WarmupSteps":100,"ClipNorm":5,"AverageSmoothing":0.998,"""
            + "\"BFloat16\":true,\"Seed\":11}",
            PartRecipe.Of(new OracleTrainingConfig { BFloat16 = true }));
        Assert.Equal(
            """{"Steps":45000,"LargeEvery":8,"LearningRate":0.001,"WarmupSteps":200,"NoiseMax":0.4,"EdgeWeight":1,"""
            + "\"ClipNorm\":1,\"AverageSmoothing\":0.999,\"BFloat16\":false,\"Seed\":22}",
            PartRecipe.Of(new DecoderTrainingConfig { BFloat16 = false }));
        Assert.Matches(
            """^{"Network":{.*},"Steps":32000,"LargeEvery":8,"LearningRate":0.001,"WarmupSteps":100,"EdgeWeight":1,"""
            + "\"DivergenceWeight\":1E-05,\"ClipNorm\":1,\"AverageSmoothing\":0.999,\"BFloat16\":false,\"Seed\":21}$",
            PartRecipe.Of(new AutoencoderTrainingConfig { BFloat16 = false }));
        Assert.Matches(
            """^{"EmbedDim":128,"Text":{.*},"Vision":{.*},"Steps":5000,"Batch":256,"LearningRate":0.001,"""
            + "\"WarmupSteps\":100,\"ClipNorm\":1,\"AverageSmoothing\":0.995,\"RecallWeight\":0.1,\"BFloat16\":false,"
            + "\"Seed\":31}$",
            PartRecipe.Of(new ClipTrainingConfig { BFloat16 = false }));
        Assert.Matches(
            """^{"EmbedDim":128,"Text":{.*"NoCausalMask":true},"Vision":{.*},"Steps":2000,"Batch":64,"LearningRate":"""
            + "0.001,\"WarmupSteps\":100,\"ClipNorm\":1,\"AverageSmoothing\":0.995,\"RecallWeight\":0.1,"
            + "\"BindingWeight\":1,\"BindingBatch\":128,\"BFloat16\":false,\"Seed\":32}$",
            PartRecipe.Of(ClipTrainingConfig.Binding with { BFloat16 = false }));
    }

    [Fact]
    public void Checkpoint_OfAnotherRecipe_IsRefused()
    {
        var parts = new DemoParts(_folder);
        using var stop = new CancellationTokenSource();
        var config = new OracleTrainingConfig { Steps = 4, Batch = 4 };
        Assert.Throws<OperationCanceledException>(() => parts.TrainOracle(config, _ => stop.Cancel(), stop.Token));
        Model.RefusedFileException error =
            Assert.Throws<Model.RefusedFileException>(() => parts.TrainOracle(
                config with { Seed = 99 }, cancellation: TestContext.Current.CancellationToken));
        Assert.Contains("another training, whose Seed is 11, not 99;", error.Message);
    }

    public void Dispose()
    {
        torch.set_num_threads(_threadsBefore);
        Directory.Delete(_folder, recursive: true);
    }

    private static float[] Weights(string file)
    {
        using SafeTensorsFile weights = SafeTensorsFile.Open(file);
        return [.. weights.Tensors.Keys.Order(StringComparer.Ordinal).SelectMany(Read)];

        IEnumerable<float> Read(string name)
        {
            var bytes = new byte[weights.Tensors[name].ByteLength];
            weights.ReadInto(name, bytes);
            return MemoryMarshal.Cast<byte, Half>(bytes).ToArray().Select(half => (float)half);
        }
    }

    private void AssertContinues(
        Action<DemoParts, Action<PartProgress>?, CancellationToken> make, Func<DemoParts, string> file)
    {
        var whole = new DemoParts(Path.Combine(_folder, "whole"));
        var parts = new DemoParts(Path.Combine(_folder, "parts"));
        make(whole, null, CancellationToken.None);
        for (int i = 0; i < 2; i++)
        {
            using var stop = new CancellationTokenSource();
            Assert.Throws<OperationCanceledException>(() => make(parts, _ => stop.Cancel(), stop.Token));
            Assert.False(File.Exists(file(parts)));
        }

        make(parts, null, CancellationToken.None);
        Assert.Equal(File.ReadAllBytes(file(whole)), File.ReadAllBytes(file(parts)));
    }
}

// Goal: the parts of the demo model are a function of their recipe alone: a making that was stopped ends with the bytes of
// one left alone. Method: networks of toy size, a handful of steps.
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Weights;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Making;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests;

public sealed class MakingTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-making-").FullName;

    public MakingTests() => torch.set_num_threads(1);

    [Fact]
    public void Autoencoder_StoppedAndContinued_HasTheSameBytes()
    {
        var config = new AutoencoderTrainingConfig
        {
            Network = new AutoencoderConfig
            {
                BlockOutChannels = [8, 8, 8, 8], LatentChannels = 4, NormNumGroups = 4, SampleSize = 128,
            },
            Steps = 6,
            LargeEvery = 2,
        };
        var decoder = new DecoderTrainingConfig { Steps = 5, LargeEvery = 2 };
        AssertContinues(
            (parts, report, stop) => parts.TrainAutoencoder(config, decoder, report, stop), parts => parts.AutoencoderWeights);
        var finished = new DemoParts(Path.Combine(_folder, "whole"));
        using AutoencoderKL network = finished.OpenAutoencoder();
        Assert.InRange(network.Config.ScalingFactor, 1e-3, 1e3);

        // Latents that were encoded before the decoder went on are still its own.
        using SafeTensorsFile joint = SafeTensorsFile.Open(Path.Combine(_folder, "whole", "autoencoder.joint.safetensors"));
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

    [Fact]
    public void Clip_StoppedAndContinued_HasTheSameBytes()
    {
        var config = new ClipTrainingConfig
        {
            EmbedDim = 16,
            Text = new ClipTextConfig { ContextLength = 32, Width = 32, Heads = 2, Layers = 1 },
            Vision = new ClipVisionConfig { ImageSize = 64, PatchSize = 16, Width = 32, HeadWidth = 16, Layers = 1 },
            Steps = 6,
            Batch = 16,
        };
        AssertContinues((parts, report, stop) => parts.TrainClip(config, report, stop), parts => parts.ClipWeights);
    }

    [Fact]
    public void Oracle_StoppedAndContinued_HasTheSameBytes() => AssertContinues(
        (parts, report, stop) => parts.TrainOracle(new OracleTrainingConfig { Steps = 4, Batch = 4 }, report, stop),
        parts => parts.OracleWeights);

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
        Assert.Contains("another training", error.Message);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

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

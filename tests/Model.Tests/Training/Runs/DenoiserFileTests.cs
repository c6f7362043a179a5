// Goal: a checkpoint's vector of weights, written as a model's file, has the tensors of the stage's result and loads as
// a denoiser without exceptions to strictness. Method: small networks with different numbers everywhere.
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using TorchSharp;
using Xunit;

namespace Atelier.Model.Tests.Training.Runs;

public sealed class DenoiserFileTests
{
    [Fact]
    public void TheFile_HasTheTensorsOfTheResult_AndLoadsStrictly()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        Directory.CreateDirectory(config.Folder);
        using var network = new MicroDiT(config.Network);
        MicroDiTInitializer.Initialize(network, 3);
        using var master = new MasterWeights(
            network, torch.ScalarType.Float32, new UpdateSettings { Average = new AverageSettings(0.9) });
        float[] weights = new float[master.Weights.numel()];
        for (int i = 0; i < weights.Length; i++)
        {
            weights[i] = i * 1e-6f;
        }

        TensorPieces.Write(weights, master.Average!);
        StageResult.Save(config, master, 20);

        using var file = new DenoiserFile(config);
        Assert.Equal(weights.Length, file.Parameters);
        file.Write(folder["denoiser.safetensors"], weights, 20);
        Assert.Throws<ArgumentException>(() => file.Write(folder["other"], weights[1..], 20));
        using IWeightSource result = WeightFile.Open(StageResult.PathIn(config.Folder)),
            published = WeightFile.Open(folder["denoiser.safetensors"]);
        Assert.All(result.Tensors.Values, info =>
        {
            byte[] expected = new byte[info.ByteLength], actual = new byte[info.ByteLength];
            result.ReadInto(info.Name, expected);
            published.ReadInto(info.Name, actual);
            Assert.Equal(info.Shape, published.Tensors[info.Name].Shape);
            Assert.Equal(expected, actual);
        });
        using var loaded = new MicroDiT(config.Network);
        Encoders.LoadWeights(loaded, folder["denoiser.safetensors"]);
    }
}

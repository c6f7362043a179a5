// Goal: the shipped oracle recognizes what a picture shows. Method: true renderings of every task, intact and spoiled.
using Atelier.Shapes.Captions;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Scenes;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Judging;

public sealed class OracleTests
{
    private const int Pictures = 200;

    public static TheoryData<SceneTask> Tasks => [.. EvaluationPrompts.Tasks];

    [Theory]
    [MemberData(nameof(Tasks))]
    public void TrueRenderings_Pass(SceneTask task)
    {
        torch.set_num_threads(1);
        using Oracle oracle = Oracle.Load(Repository.At("models/oracle/oracle.safetensors"));
        foreach (int side in new[] { 64, 128 })
        {
            Assert.InRange(OracleMeasurement.Accuracy(oracle, task, 2 * Pictures, side, seed: 5), 0.99, 1);
        }
    }

    [Theory]
    [InlineData(Spoilage.Noise)]
    [InlineData(Spoilage.Blur)]
    [InlineData(Spoilage.Shrink)]
    [InlineData(Spoilage.Jpeg)]
    [InlineData(Spoilage.Light)]
    public void SpoiledRenderings_Pass(Spoilage spoilage)
    {
        torch.set_num_threads(1);
        using Oracle oracle = Oracle.Load(Repository.At("models/oracle/oracle.safetensors"));
        double accuracy = OracleMeasurement.Accuracy(
            oracle, SceneTask.Attribution, Pictures, 64, seed: 6, (image, i) => Spoiling.Spoil(image, spoilage, 1, i));
        Assert.InRange(accuracy, 0.95, 1);
    }
}

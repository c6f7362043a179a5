// Training of the demo model's parts, with progress reports on the command line.
using System.Globalization;
using Atelier.Model.Runtime;
using Atelier.Shapes.Making;
using Atelier.Shapes.Training;
using TorchSharp;

namespace Atelier.Cli.Demo;

internal static class DemoPartTraining
{
    /// <summary>Trains the part with the given name (autoencoder, clip or oracle), or resumes its training.</summary>
    public static void Run(DemoParts parts, string name, torch.ScalarType compute, CancellationToken cancellation)
    {
        bool isBFloat16 = compute == torch.ScalarType.BFloat16;
        Output.Remark($"{name}: training in {Precision.Name(compute)}");
        switch (name)
        {
            case "autoencoder":
                parts.TrainAutoencoder(
                    new AutoencoderTrainingConfig { BFloat16 = isBFloat16 },
                    new DecoderTrainingConfig { BFloat16 = isBFloat16 }, Report, cancellation);
                break;
            case "oracle":
                parts.TrainOracle(new OracleTrainingConfig { BFloat16 = isBFloat16 }, Report, cancellation);
                break;
            default:
                parts.TrainClip(
                    new ClipTrainingConfig { BFloat16 = isBFloat16 },
                    ClipTrainingConfig.Binding with { BFloat16 = isBFloat16 }, Report, cancellation);
                break;
        }
    }

    private static void Report(PartProgress progress) => Output.Remark(
        $"step {progress.Step} of {progress.Steps}, loss {Number(progress.Loss, "f5")}, "
        + $"{Number(progress.SamplesPerSecond, "f1")} samples/s");

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}

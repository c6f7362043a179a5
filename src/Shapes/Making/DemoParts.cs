// The parts of the demo model that come before its diffusion model, each made from nothing by one call.
using Atelier.Model.Autoencoder;

namespace Atelier.Shapes.Making;

/// <summary>
/// Makes the parts in a folder. What is complete there is left as it is; what was begun goes on from its checkpoint. One
/// thread of libtorch is enough; the caller sets their number.
/// </summary>
/// <param name="folder">The folder; it is made if it is missing.</param>
public sealed class DemoParts(string folder)
{
    /// <summary>Path of the vocabulary.</summary>
    public string Vocabulary => In("vocabulary.txt.gz");

    /// <summary>Path of the autoencoder's weights, in half precision.</summary>
    public string AutoencoderWeights => In("autoencoder.safetensors");

    /// <summary>Path of the autoencoder's configuration, as diffusers writes it.</summary>
    public string AutoencoderConfiguration => In("autoencoder.json");

    /// <summary>Makes the vocabulary.</summary>
    public void MakeVocabulary(VocabularyConfig? config = null)
    {
        if (!File.Exists(Vocabulary))
        {
            Directory.CreateDirectory(folder);
            VocabularyMaker.Make(config ?? new VocabularyConfig(), Vocabulary);
        }
    }

    /// <summary>Trains the autoencoder.</summary>
    /// <param name="config">How; by default as the shipped one was.</param>
    /// <param name="report">Hears of the progress.</param>
    /// <param name="cancellation">Ends the training at a step's end, with a checkpoint; the same call goes on.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public void TrainAutoencoder(
        AutoencoderTrainingConfig? config = null, Action<PartProgress>? report = null, CancellationToken cancellation = default)
    {
        if (File.Exists(AutoencoderConfiguration))
        {
            return;
        }

        Directory.CreateDirectory(folder);
        string checkpoint = In("autoencoder.checkpoint");
        using var training = new AutoencoderTraining(config ?? new AutoencoderTrainingConfig());
        using AutoencoderKL network = training.Run(checkpoint, report, cancellation);
        PartFiles.Write(network, AutoencoderMeasure.WithScale(network), AutoencoderWeights, AutoencoderConfiguration);
        File.Delete(checkpoint);
    }

    /// <summary>The finished autoencoder, in float32.</summary>
    public AutoencoderKL OpenAutoencoder() =>
        PartFiles.Load(new AutoencoderKL(AutoencoderConfig.Read(AutoencoderConfiguration)), AutoencoderWeights);

    private string In(string name) => Path.Combine(folder, name);
}

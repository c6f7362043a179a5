// The parts of the demo model that come before its diffusion model, each made from nothing by one call.
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Training;

namespace Atelier.Shapes.Making;

/// <summary>
/// Makes the parts in a folder. What is complete there is left as it is; what was begun goes on from its checkpoint.
/// One thread of libtorch is enough; the caller sets their number.
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

    /// <summary>Path of both towers' weights, in half precision.</summary>
    public string ClipWeights => In("clip.safetensors");

    /// <summary>Path of the CLIP model's configuration, as OpenCLIP writes it.</summary>
    public string ClipConfiguration => In("clip.json");

    /// <summary>Path of the oracle's weights, in half precision.</summary>
    public string OracleWeights => In("oracle.safetensors");

    /// <summary>Takes the parts that are missing from a finished model.</summary>
    public void TakeFrom(ModelFolder model)
    {
        ArgumentNullException.ThrowIfNull(model);
        Directory.CreateDirectory(folder);
        if (!File.Exists(Vocabulary))
        {
            File.Copy(model.PathOf(model.Vocabulary), Vocabulary);
        }

        if (!File.Exists(AutoencoderConfiguration))
        {
            File.Copy(model.PathOf(model.Autoencoder), AutoencoderWeights, overwrite: true);
            PartFiles.WriteConfiguration(model.AutoencoderConfig, AutoencoderConfiguration);
        }

        if (!File.Exists(ClipConfiguration))
        {
            File.Copy(model.PathOf(model.TextEncoder), ClipWeights, overwrite: true);
            PartFiles.WriteConfiguration(model.ClipConfig, ClipConfiguration);
        }
    }

    /// <summary>Makes the vocabulary.</summary>
    public void MakeVocabulary(VocabularyConfig? config = null)
    {
        if (!File.Exists(Vocabulary))
        {
            Directory.CreateDirectory(folder);
            VocabularyMaker.Make(config ?? new VocabularyConfig(), Vocabulary);
        }
    }

    /// <summary>
    /// Trains the autoencoder: both halves together, and then the decoder alone on latents with noise.
    /// </summary>
    /// <param name="config">
    /// How both are trained; if not given, the defaults of <see cref="AutoencoderTrainingConfig"/>.
    /// </param>
    /// <param name="decoder">
    /// How the decoder goes on; if not given, the defaults of <see cref="DecoderTrainingConfig"/>.
    /// </param>
    /// <param name="report">Hears of the progress.</param>
    /// <param name="cancellation">Ends the training at a step's end, with a checkpoint; the same call goes on.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="RefusedFileException">What was begun there began with other settings, or precision.</exception>
    public void TrainAutoencoder(
        AutoencoderTrainingConfig? config = null, DecoderTrainingConfig? decoder = null,
        Action<PartProgress>? report = null,
        CancellationToken cancellation = default)
    {
        if (File.Exists(AutoencoderConfiguration))
        {
            return;
        }

        (string weights, string json) = (In("autoencoder.joint.safetensors"), In("autoencoder.joint.json"));
        (string checkpoint, string decoderCheckpoint) = (In("autoencoder.checkpoint"), In("decoder.checkpoint"));
        Directory.CreateDirectory(folder);
        config ??= new AutoencoderTrainingConfig();
        var recipe = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [PartRecipe.Key] = PartRecipe.Of(config),
        };
        if (File.Exists(json))
        {
            using SafeTensorsFile joint = SafeTensorsFile.Open(weights);
            PartRecipe.Check(
                weights, joint.Metadata.GetValueOrDefault(PartRecipe.Key), recipe[PartRecipe.Key]);
        }
        else
        {
            using var training = new AutoencoderTraining(config);
            using AutoencoderKL network = training.Run(checkpoint, report, cancellation);
            PartFiles.Write(network, AutoencoderMeasure.WithScale(network), weights, json, recipe);
            File.Delete(checkpoint);
        }

        using var further = new DecoderTraining(
            decoder ?? new DecoderTrainingConfig(),
            () => PartFiles.Load(new AutoencoderKL(AutoencoderConfig.Read(json)), weights));
        AutoencoderKL finished = further.Run(decoderCheckpoint, report, cancellation);
        PartFiles.Write(finished, finished.Config, AutoencoderWeights, AutoencoderConfiguration);
        File.Delete(decoderCheckpoint);
    }

    /// <summary>Trains the CLIP model, on the vocabulary, which is made before if it is missing.</summary>
    /// <param name="config">How; if not given, the defaults of <see cref="ClipTrainingConfig"/>.</param>
    /// <param name="report">Hears of the progress.</param>
    /// <param name="cancellation">Ends the training at a step's end, with a checkpoint; the same call goes on.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="RefusedFileException">What was begun there began with other settings, or precision.</exception>
    public void TrainClip(
        ClipTrainingConfig? config = null, Action<PartProgress>? report = null,
        CancellationToken cancellation = default)
    {
        if (File.Exists(ClipConfiguration))
        {
            return;
        }

        MakeVocabulary();
        string checkpoint = In("clip.checkpoint");
        using var training = new ClipTraining(config ?? new ClipTrainingConfig(), Vocabulary);
        using ClipModel network = training.Run(checkpoint, report, cancellation);
        PartFiles.Write(network, ClipWeights, ClipConfiguration);
        File.Delete(checkpoint);
    }

    /// <summary>Trains the oracle.</summary>
    /// <param name="config">How; if not given, the defaults of <see cref="OracleTrainingConfig"/>.</param>
    /// <param name="report">Hears of the progress.</param>
    /// <param name="cancellation">Ends the training at a step's end, with a checkpoint; the same call goes on.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="RefusedFileException">What was begun there began with other settings, or precision.</exception>
    public void TrainOracle(
        OracleTrainingConfig? config = null, Action<PartProgress>? report = null,
        CancellationToken cancellation = default)
    {
        if (File.Exists(OracleWeights))
        {
            return;
        }

        Directory.CreateDirectory(folder);
        string checkpoint = In("oracle.checkpoint");
        config ??= new OracleTrainingConfig();
        using var training = new OracleTraining(config);
        using OracleNetwork network = training.Run(checkpoint, report, cancellation);
        Oracle.Save(network, OracleWeights, new Dictionary<string, string> { ["training"] = PartRecipe.Of(config) });
        File.Delete(checkpoint);
    }

    /// <summary>The finished CLIP model, in float32.</summary>
    public ClipModel OpenClip() => PartFiles.Load(new ClipModel(ClipConfig.Read(ClipConfiguration)), ClipWeights);

    /// <summary>The finished autoencoder, in float32.</summary>
    public AutoencoderKL OpenAutoencoder() =>
        PartFiles.Load(new AutoencoderKL(AutoencoderConfig.Read(AutoencoderConfiguration)), AutoencoderWeights);

    private string In(string name) => Path.Combine(folder, name);
}

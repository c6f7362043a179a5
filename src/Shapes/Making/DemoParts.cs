// The parts of the demo model that its diffusion model needs, each made from scratch by one call.
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Training;

namespace Atelier.Shapes.Making;

/// <summary>
/// Makes the parts in a folder. Complete parts are kept; unfinished ones resume from their checkpoints. One libtorch
/// thread is enough; the caller sets the number of threads.
/// </summary>
/// <param name="folder">The folder, which is created if it is missing.</param>
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

    /// <summary>Copies missing parts from a finished model.</summary>
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

    /// <summary>Trains the autoencoder: first both halves together, then the decoder alone on noisy latents.</summary>
    /// <param name="config">
    /// Settings of the training; null for the defaults of <see cref="AutoencoderTrainingConfig"/>.
    /// </param>
    /// <param name="decoder">
    /// Settings of the decoder's training; null for the defaults of <see cref="DecoderTrainingConfig"/>.
    /// </param>
    /// <param name="report">Receives the progress.</param>
    /// <param name="cancellation">
    /// Stops the training at the end of a step, with a checkpoint; the same call resumes it.
    /// </param>
    /// <exception cref="OperationCanceledException">The training was cancelled.</exception>
    /// <exception cref="RefusedFileException">
    /// The folder holds an unfinished training with other settings or another precision.
    /// </exception>
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
        if (!IsFinished(weights, json, PartRecipe.Of(config), out Dictionary<string, string> recipe))
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

    /// <summary>
    /// Trains the CLIP model on the vocabulary, which is made first if it is missing: first both towers by contrast,
    /// then with a text tower that sees whole captions and binds words to things.
    /// </summary>
    /// <param name="config">
    /// Settings of the training; null for the defaults of <see cref="ClipTrainingConfig"/>.
    /// </param>
    /// <param name="binding">
    /// Settings of the second training; null for <see cref="ClipTrainingConfig.Binding"/>.
    /// </param>
    /// <param name="report">Receives the progress.</param>
    /// <param name="cancellation">
    /// Stops the training at the end of a step, with a checkpoint; the same call resumes it.
    /// </param>
    /// <exception cref="OperationCanceledException">The training was cancelled.</exception>
    /// <exception cref="RefusedFileException">
    /// The folder holds an unfinished training with other settings or another precision.
    /// </exception>
    public void TrainClip(
        ClipTrainingConfig? config = null, ClipTrainingConfig? binding = null, Action<PartProgress>? report = null,
        CancellationToken cancellation = default)
    {
        if (File.Exists(ClipConfiguration))
        {
            return;
        }

        MakeVocabulary();
        (string weights, string json) = (In("clip.contrast.safetensors"), In("clip.contrast.json"));
        (string checkpoint, string bindingCheckpoint) = (In("clip.checkpoint"), In("binding.checkpoint"));
        config ??= new ClipTrainingConfig();
        if (!IsFinished(weights, json, PartRecipe.Of(config), out Dictionary<string, string> recipe))
        {
            using var training = new ClipTraining(config, Vocabulary);
            using ClipModel network = training.Run(checkpoint, report, cancellation);
            PartFiles.Write(network, weights, json, recipe);
            File.Delete(checkpoint);
        }

        using var further = new ClipTraining(
            binding ?? ClipTrainingConfig.Binding, Vocabulary, network => PartFiles.Load(network, weights));
        using ClipModel bound = further.Run(bindingCheckpoint, report, cancellation);
        PartFiles.Write(bound, ClipWeights, ClipConfiguration);
        File.Delete(bindingCheckpoint);
    }

    // Whether the first of two trainings has been finished, with this recipe.
    private static bool IsFinished(
        string weights, string json, string recipe, out Dictionary<string, string> metadata)
    {
        metadata = new Dictionary<string, string>(StringComparer.Ordinal) { [PartRecipe.Key] = recipe };
        if (!File.Exists(json))
        {
            return false;
        }

        using SafeTensorsFile file = SafeTensorsFile.Open(weights);
        PartRecipe.Check(weights, file.Metadata.GetValueOrDefault(PartRecipe.Key), recipe);
        return true;
    }

    /// <summary>Trains the oracle.</summary>
    /// <param name="config">
    /// Settings of the training; null for the defaults of <see cref="OracleTrainingConfig"/>.
    /// </param>
    /// <param name="report">Receives the progress.</param>
    /// <param name="cancellation">
    /// Stops the training at the end of a step, with a checkpoint; the same call resumes it.
    /// </param>
    /// <exception cref="OperationCanceledException">The training was cancelled.</exception>
    /// <exception cref="RefusedFileException">
    /// The folder holds an unfinished training with other settings or another precision.
    /// </exception>
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

    /// <summary>Loads the finished CLIP model in float32.</summary>
    public ClipModel OpenClip() => PartFiles.Load(new ClipModel(ClipConfig.Read(ClipConfiguration)), ClipWeights);

    /// <summary>Loads the finished autoencoder in float32.</summary>
    public AutoencoderKL OpenAutoencoder() =>
        PartFiles.Load(new AutoencoderKL(AutoencoderConfig.Read(AutoencoderConfiguration)), AutoencoderWeights);

    private string In(string name) => Path.Combine(folder, name);
}

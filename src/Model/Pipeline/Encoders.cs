// A model's autoencoder and text encoder, which turn captioned pictures into training data.
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Model.Pipeline;

/// <summary>An autoencoder and a text encoder that belong together. Disposes both.</summary>
/// <param name="Autoencoder">Encodes pictures into latents and decodes latents into pictures.</param>
/// <param name="Text">Encodes captions into features.</param>
/// <param name="Tokenizer">The text encoder's tokenizer.</param>
public sealed record Encoders(AutoencoderKL Autoencoder, ClipTextEncoder Text, ClipTokenizer Tokenizer) : IDisposable
{
    /// <summary>
    /// Loads the encoders of a model folder, or of a folder that holds only them: autoencoder.json, clip.json, a
    /// safetensors file beside each, and vocabulary.txt.gz.
    /// </summary>
    /// <exception cref="RefusedFileException">A file is missing or does not fit the others.</exception>
    public static Encoders Load(string folder)
    {
        if (File.Exists(Path.Combine(folder, ModelFolder.FileName)))
        {
            return Load(ModelFolder.Open(folder));
        }

        string autoencoder = Require(folder, "autoencoder.json"), clip = Require(folder, "clip.json");
        return Load(
            AutoencoderConfig.Read(autoencoder), Require(folder, "autoencoder.safetensors"), ClipConfig.Read(clip),
            Require(folder, "clip.safetensors"), Require(folder, "vocabulary.txt.gz"));
    }

    /// <summary>Loads the encoders of a model.</summary>
    /// <exception cref="RefusedFileException">A file is missing or does not fit the others.</exception>
    public static Encoders Load(ModelFolder model) => Load(
        model.AutoencoderConfig, model.PathOf(model.Autoencoder), model.ClipConfig, model.PathOf(model.TextEncoder),
        model.PathOf(model.Vocabulary));

    /// <inheritdoc/>
    public void Dispose()
    {
        Autoencoder.Dispose();
        Text.Dispose();
    }

    private static Encoders Load(
        AutoencoderConfig autoencoderConfig, string autoencoderFile, ClipConfig clipConfig, string clipFile,
        string vocabulary)
    {
        ClipTokenizer tokenizer = ClipTokenizer.Load(vocabulary, clipConfig.Text);
        var autoencoder = new AutoencoderKL(autoencoderConfig);
        LoadWeights(autoencoder, autoencoderFile, AutoencoderKL.CanonicalName, AutoencoderKL.CanonicalShape);
        var text = new ClipTextEncoder(clipConfig);
        LoadWeights(text, clipFile, ClipTextEncoder.CanonicalName);
        return new Encoders(autoencoder, text, tokenizer);
    }

    private static string Require(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        return File.Exists(path)
            ? path
            : throw new RefusedFileException(
                path, "file", $"is missing, and so is {ModelFolder.FileName}: the folder does not contain encoders.");
    }

    /// <summary>Loads a network strictly and prepares it for inference.</summary>
    public static void LoadWeights(
        nn.Module module, string path, Func<string, string?>? rename = null,
        Func<string, long[], long[]>? reshape = null)
    {
        using IWeightSource source = WeightFile.Open(path);
        StrictLoader.Load(module, source, rename, reshape);
        module.eval();
    }
}

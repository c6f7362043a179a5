// The models from which a published one takes its autoencoder and its text encoder: those of this silo's folders. The
// right one is the one whose networks made the latents that a stage was trained on.
using System.Collections.Concurrent;
using Atelier.Contracts;
using Atelier.Model;
using Atelier.Model.Data;
using Atelier.Model.Pipeline;
using Atelier.Model.Runtime;
using Atelier.Model.Training.Runs;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Silo.Models;

/// <summary>Finds the model that a stage's latents belong to.</summary>
/// <param name="folders">Folders of this silo's models, the default one first.</param>
internal sealed class BaseModels(IReadOnlyList<string> folders)
{
    private readonly ConcurrentDictionary<(string Model, ScalarType Precision), Lazy<NetworkDigests>> _digests = new();

    /// <summary>Finds the model, and checks that its networks fit the stage's.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="networks">The networks that made the stage's latents; null if they are not known.</param>
    /// <param name="named">The model that the caller names; null to find it by its networks.</param>
    /// <exception cref="PublishRefusedException">The model does not exist, or does not fit.</exception>
    public ModelFolder Find(StageConfig config, NetworkDigests? networks, ModelDigest? named)
    {
        ModelFolder[] all = [.. folders.Select(Open).OfType<ModelFolder>()];
        string offers = all.Length == 0
            ? "This silo has no models in Models:Folders." : $"This silo has {string.Join(", ", all.Select(Name))}.";
        ModelFolder found = (named, networks) switch
        {
            ({ } digest, _) => Array.Find(all, model => model.Digest == digest.Value) ?? throw Refused(
                $"The model {digest} is not in a folder of this silo. {offers}"),
            (null, null) => throw Refused(
                $"The data of {config.Name} does not record which networks made its latents; name the model that has "
                + $"them. {offers}"),
            (null, { } made) => Array.Find(all, model => Difference(model, made) is null) ?? throw Refused(
                $"The latents of {config.Name} were made by the autoencoder {made.Autoencoder} and the text encoder "
                + $"{made.TextEncoder}, which no model here has. {offers} Add the model that has them to "
                + "Models:Folders."),
        };
        if (networks is not null && Difference(found, networks) is { } difference)
        {
            throw Refused($"{Name(found)} does not fit the latents of {config.Name}: {difference}.");
        }

        CheckShapes(config, found);
        return found;
    }

    /// <summary>The model with a digest.</summary>
    /// <exception cref="PublishRefusedException">No folder of this silo has the model.</exception>
    public ModelFolder Find(ModelDigest digest) =>
        folders.Select(Open).FirstOrDefault(model => model?.Digest == digest.Value)
        ?? throw Refused($"The model {digest} is not in a folder of this silo.");

    private static PublishRefusedException Refused(string message) => new("model_mismatch", message);

    private static string Name(ModelFolder model) => $"{model.Name} ({model.Digest[..16]})";

    // A folder that is damaged does not hide the others.
    private static ModelFolder? Open(string folder)
    {
        try
        {
            return ModelFolder.Open(folder);
        }
        catch (RefusedFileException)
        {
            return null;
        }
    }

    private static void CheckShapes(StageConfig config, ModelFolder model)
    {
        (string What, int Stage, int Model)[] shapes =
        [
            ("model.in_channels", config.Network.InChannels, model.AutoencoderConfig.LatentChannels),
            ("model.caption_channels", config.Network.CaptionChannels, model.ClipConfig.Text.Width),
        ];
        foreach ((string what, int stage, int own) in shapes)
        {
            if (stage != own)
            {
                throw Refused($"{Name(model)} does not fit {config.Name}: {what} is {stage}, and {own} in that model.");
            }
        }
    }

    // In what a model's networks differ from those that made latents; null if they are the same.
    private string? Difference(ModelFolder model, NetworkDigests made)
    {
        if (made.Type() is not { } precision)
        {
            return $"their precision is {made.Precision}, which this release does not know";
        }

        NetworkDigests own;
        try
        {
            // A failure is not kept: the files may be readable at the next call.
            own = _digests.GetOrAdd((model.Digest, precision), _ => new Lazy<NetworkDigests>(
                () => Compute(model, precision), LazyThreadSafetyMode.PublicationOnly)).Value;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return $"it cannot be read: {error.Message}";
        }

        return own.Autoencoder != made.Autoencoder
            ? $"its autoencoder is {own.Autoencoder}, and {made.Autoencoder} made them"
            : own.TextEncoder != made.TextEncoder
            ? $"its text encoder is {own.TextEncoder}, and {made.TextEncoder} made them"
            : own.Vocabulary != made.Vocabulary
            ? $"its vocabulary is {own.Vocabulary}, and {made.Vocabulary} made them" : null;
    }

    private static NetworkDigests Compute(ModelFolder model, ScalarType precision)
    {
        Libtorch.Load();
        using Encoders encoders = Encoders.Load(model);
        encoders.Autoencoder.to(precision);
        encoders.Text.to(precision);
        return NetworkDigests.Of(encoders.Autoencoder, encoders.Text, encoders.Tokenizer);
    }
}

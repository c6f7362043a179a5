// A model that a device can load: its folder, its card in the catalog, and the factory of its networks.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;

namespace Atelier.Silo.Devices;

/// <summary>A model that a device can load.</summary>
public sealed record DeviceModel
{
    /// <summary>The model's files.</summary>
    public required ModelFolder Folder { get; init; }

    /// <summary>The model's card in the cluster's catalog.</summary>
    public required ModelCard Card { get; init; }

    /// <summary>
    /// Creates the model's networks for forward passes of a given number of rows; the device disposes them.
    /// </summary>
    public required Func<int, TextToImage> Load { get; init; }

    /// <summary>Opens a model's folder. The weights are read when the model is loaded.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="isDefault">Whether requests without a model use this model.</param>
    /// <param name="aliases">Other names of the model.</param>
    /// <exception cref="Model.RefusedFileException">The folder is not a complete model.</exception>
    public static DeviceModel Open(string folder, bool isDefault = false, params string[] aliases)
    {
        ModelFolder model = ModelFolder.Open(folder);
        return Of(
            model, model.Files.Select(model.PathOf).Distinct().Sum(path => new FileInfo(path).Length),
            width => TextToImage.Load(model, width), isDefault, aliases);
    }

    /// <summary>Creates a model with a given factory for its networks.</summary>
    public static DeviceModel Of(
        ModelFolder model, long memoryBytes, Func<int, TextToImage> load, bool isDefault = false,
        params string[] aliases)
    {
        int tokens = model.ClipConfig.Text.ContextLength;
        var cost = new MicroDiTCost(model.DenoiserConfig);
        return new DeviceModel
        {
            Folder = model,
            Load = load,
            Card = new ModelCard
            {
                Digest = new ModelDigest(model.Digest),
                Name = model.Name,
                Aliases = aliases,
                IsDefault = isDefault,
                Licence = model.Licence,
                Sizes = [new PictureSize(model.Resolution, model.Resolution)],
                Steps = model.Steps,
                Guidance = model.Guidance,
                EncodeCost = TextCost(model.ClipConfig.Text),
                EvaluationCost = cost.Evaluation(tokens) + (cost.Caption(tokens) / ((2 * model.Steps) - 1)),
                DecodeCost = DecodeCost(model.AutoencoderConfig, model.DenoiserConfig.InputSize),
                MemoryBytes = memoryBytes,
                PromptTokensMax = tokens - 2,
            },
        };
    }

    // Each layer multiplies by four width-by-width matrices for attention and by the equivalent of eight in its
    // feed-forward part.
    private static double TextCost(ClipTextConfig text)
    {
        double length = text.ContextLength, width = text.Width;
        return text.Layers * ((24 * length * width * width) + (4 * length * length * width));
    }

    // Operations of the 3x3 convolutions of the decoder's residual blocks and upsampling layers, and attention at the
    // lowest resolution.
    private static double DecodeCost(AutoencoderConfig autoencoder, int side)
    {
        int[] widths = [.. autoencoder.BlockOutChannels.Reverse()];
        double pixels = (double)side * side, width = widths[0];
        double cost = Convolution(pixels, autoencoder.LatentChannels, width) + (4 * Convolution(pixels, width, width))
            + (8 * pixels * width * width) + (4 * pixels * pixels * width);
        for (int level = 0; level < widths.Length; level++)
        {
            cost += Convolution(pixels, width, widths[level]);
            width = widths[level];
            cost += ((2 * autoencoder.LayersPerBlock) + 1) * Convolution(pixels, width, width);
            if (level + 1 < widths.Length)
            {
                pixels *= 4;
                cost += Convolution(pixels, width, width);
            }
        }

        return cost + Convolution(pixels, width, autoencoder.OutChannels);
    }

    private static double Convolution(double pixels, double inputs, double outputs) => 18 * pixels * inputs * outputs;
}

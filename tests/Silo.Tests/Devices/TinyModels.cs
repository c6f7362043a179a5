// Models that need no files: TinyPipeline's networks under a manifest that was never written.
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts.Generations;
using Atelier.Model;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Pipeline;
using Atelier.Silo.Devices;

namespace Atelier.Silo.Tests.Devices;

internal static class TinyModels
{
    /// <summary>A model whose pictures are 32x32.</summary>
    public static DeviceModel First { get; } = Create("first", SmallNetworks.Tiny with { InputSize = 16 });

    /// <summary>Another one, whose pictures are 16x16.</summary>
    public static DeviceModel Second { get; } = Create("second", SmallNetworks.Tiny);

    /// <summary>A picture of a model.</summary>
    public static GenerationSpec Spec(DeviceModel model) => new()
    {
        Model = model.Card.Digest,
        Prompt = "a red square over a blue circle",
        Negative = "blue",
        Seed = 5,
        Steps = 3,
        Guidance = 5,
        Width = model.Folder.Resolution,
        Height = model.Folder.Resolution,
    };

    /// <summary>The file that the command line would write for a specification.</summary>
    public static byte[] Expected(DeviceModel model, GenerationSpec spec)
    {
        using TextToImage pipeline = model.Load(TextToImage.CpuWidth);
        var request = new GenerationRequest
        {
            Prompt = spec.Prompt,
            Negative = spec.Negative,
            Seed = spec.Seed,
            Size = spec.Width,
            Sampler = new SamplerSettings { Steps = spec.Steps, Guidance = spec.Guidance },
        };
        RgbImage image = pipeline.Generate([request])[0];
        using var png = new MemoryStream();
        Png.Write(
            png, image.Pixels, image.Width, image.Height, [("parameters", request.Parameters(model.Folder))]);
        return png.ToArray();
    }

    /// <summary>The first model with a spoiled part: some of its tensors are NaN.</summary>
    /// <param name="part">The part, as <see cref="ModelParts"/> names it; it is also the model's name.</param>
    public static DeviceModel Spoiled(string part) =>
        Create($"spoiled {part}", SmallNetworks.Tiny with { InputSize = 16 }, part);

    private static DeviceModel Create(string name, MicroDiTConfig config, string? spoiled = null)
    {
        var file = new ModelFile("none", "");
        var folder = new ModelFolder
        {
            Path = "nowhere",
            Name = name,
            Licence = "MIT",
            Source = "formula",
            Digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name))),
            Denoiser = file,
            DenoiserConfig = config,
            Edm = new Edm(),
            Autoencoder = file,
            AutoencoderConfig = TinyPipeline.Autoencoder,
            TextEncoder = file,
            ClipConfig = TinyPipeline.Clip(config.CaptionChannels),
            Vocabulary = file,
            Steps = 3,
            Guidance = 5,
        };
        return DeviceModel.Of(
            folder, memoryBytes: 1 << 20, width => TinyPipeline.Create(config, width, spoiled, float.NaN));
    }
}

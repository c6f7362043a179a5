// Models that need no files: TinyPipeline's networks under a manifest that was never written.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Cli.Verify;
using Atelier.Contracts.Generations;
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Pipeline;
using Atelier.Model.Weights;
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

    /// <summary>Writes the networks of <see cref="Second"/> as a model folder.</summary>
    /// <param name="path">The folder to create.</param>
    /// <param name="name">The model's name.</param>
    /// <param name="prefix">Prefix of the names from which the autoencoder's weights are derived.</param>
    /// <param name="scores">Whether the text encoder's file has the image encoder, too.</param>
    public static ModelFolder Write(string path, string name, string prefix = "vae/", bool scores = false)
    {
        Directory.CreateDirectory(path);
        (ClipTextEncoder text, MicroDiT network, AutoencoderKL autoencoder) = TinyPipeline.Networks(
            SmallNetworks.Tiny, null, 0);
        using (text)
        using (network)
        using (autoencoder)
        {
            FormulaWeights.Fill(autoencoder, prefix);
            StateDictFile.Save(network, Path.Combine(path, "denoiser.safetensors"));
            StateDictFile.Save(autoencoder, Path.Combine(path, "autoencoder.safetensors"));
            using var both = new ClipModel(TinyPipeline.Clip(SmallNetworks.Tiny.CaptionChannels));
            FormulaWeights.Fill(both, "clip/");
            StateDictFile.Save(scores ? both : text, Path.Combine(path, "text_encoder.safetensors"));
        }

        File.WriteAllBytes(Path.Combine(path, "vocabulary.txt.gz"), TinyPipeline.Vocabulary);
        using var denoiser = new MemoryStream();
        using (var json = new Utf8JsonWriter(denoiser))
        {
            SmallNetworks.Tiny.WriteJson(json);
        }

        ModelFolder.WriteManifest(path, new JsonObject
        {
            ["format"] = 1,
            ["name"] = name,
            ["licence"] = "MIT",
            ["source"] = "formula",
            ["denoiser"] = Entry("denoiser.safetensors", Encoding.UTF8.GetString(denoiser.ToArray())),
            ["autoencoder"] = Entry(
                "autoencoder.safetensors",
                """{"block_out_channels":[8,16],"norm_num_groups":4,"scaling_factor":0.5}"""),
            ["text_encoder"] = Entry(
                "text_encoder.safetensors",
                """
                {
                  "embed_dim": 16, "quick_gelu": true,
                  "text_cfg": { "vocab_size": 518, "width": 24, "heads": 4, "layers": 2 },
                  "vision_cfg": { "image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1 }
                }
                """),
            ["vocabulary"] = Entry("vocabulary.txt.gz", null),
            ["defaults"] = new JsonObject { ["steps"] = 3, ["guidance"] = 5 },
        });
        return ModelFolder.Open(path);

        JsonObject Entry(string file, string? config)
        {
            var entry = new JsonObject { ["file"] = file, ["sha256"] = WeightDigest.OfFile(Path.Combine(path, file)) };
            if (config is not null)
            {
                entry["config"] = JsonNode.Parse(config);
            }

            return entry;
        }
    }

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

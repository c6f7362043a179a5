// The assembly of a model folder from the demo model's parts and a trained denoiser.
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;

namespace Atelier.Shapes.Making;

/// <summary>Metadata of a model folder.</summary>
/// <param name="Name">Name of the model.</param>
/// <param name="Source">Origin of its weights, in one line.</param>
/// <param name="Steps">Default number of sampling steps.</param>
/// <param name="Guidance">Default guidance scale.</param>
public sealed record DemoModelCard(string Name, string Source, int Steps, double Guidance);

/// <summary>Assembles model folders of the demo world.</summary>
public static class DemoModel
{
    private const string Licence = "MIT";

    /// <summary>
    /// Writes a model folder: the denoiser in half precision, the parts unchanged, and the manifest last. An existing
    /// model is replaced.
    /// </summary>
    /// <param name="parts">Autoencoder, CLIP and vocabulary, complete.</param>
    /// <param name="weights">Safetensors file of the denoiser.</param>
    /// <param name="network">The denoiser.</param>
    /// <param name="edm">The denoiser's preconditioning.</param>
    /// <param name="card">Metadata of the folder.</param>
    /// <param name="folder">The folder.</param>
    public static ModelFolder Assemble(
        DemoParts parts, string weights, MicroDiTConfig network, Edm edm, DemoModelCard card, string folder)
    {
        Directory.CreateDirectory(folder);
        File.Delete(Path.Combine(folder, ModelFolder.FileName));
        using (var denoiser = new MicroDiT(network))
        {
            using IWeightSource source = WeightFile.Open(weights).FindModel("dit");
            StrictLoader.Load(denoiser, source, ignore: ["pos_embed", "mask_token"], checkFinite: true);
            StateDictFile.Save(denoiser, Path.Combine(folder, "denoiser.safetensors"), ElementType.Float16);
        }

        File.Copy(parts.AutoencoderWeights, Path.Combine(folder, "autoencoder.safetensors"), overwrite: true);
        File.Copy(parts.ClipWeights, Path.Combine(folder, "clip.safetensors"), overwrite: true);
        File.Copy(parts.Vocabulary, Path.Combine(folder, "vocabulary.txt.gz"), overwrite: true);
        JsonObject denoiserEntry = Entry(folder, "denoiser.safetensors", ToJson(network));
        denoiserEntry["sigma_data"] = edm.SigmaData;
        denoiserEntry["p_mean"] = edm.PMean;
        denoiserEntry["p_std"] = edm.PStd;
        ModelFolder.WriteManifest(folder, new JsonObject
        {
            ["format"] = 1,
            ["name"] = card.Name,
            ["licence"] = Licence,
            ["source"] = card.Source,
            ["denoiser"] = denoiserEntry,
            ["autoencoder"] = Entry(
                folder, "autoencoder.safetensors", JsonNode.Parse(File.ReadAllBytes(parts.AutoencoderConfiguration))),
            ["text_encoder"] = Entry(
                folder, "clip.safetensors", JsonNode.Parse(File.ReadAllBytes(parts.ClipConfiguration))),
            ["vocabulary"] = Entry(folder, "vocabulary.txt.gz", null),
            ["defaults"] = new JsonObject { ["steps"] = card.Steps, ["guidance"] = card.Guidance },
        });
        return ModelFolder.Open(folder);
    }

    private static JsonObject Entry(string folder, string file, JsonNode? config)
    {
        var entry = new JsonObject { ["file"] = file, ["sha256"] = WeightDigest.OfFile(Path.Combine(folder, file)) };
        if (config is not null)
        {
            entry["config"] = config;
        }

        return entry;
    }

    private static JsonNode ToJson(MicroDiTConfig config)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            config.WriteJson(writer);
        }

        return JsonNode.Parse(stream.ToArray())!;
    }
}

// The identity of the networks that made latents and caption features, as a folder's recipe records it.
using System.Text.Json;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using static TorchSharp.torch;

namespace Atelier.Model.Data;

/// <summary>Digests of an autoencoder and a text encoder in the precision in which they compute.</summary>
/// <param name="Autoencoder">Digest of the autoencoder's parameters.</param>
/// <param name="TextEncoder">Digest of the text encoder's parameters.</param>
/// <param name="Vocabulary">Digest of the tokenizer's vocabulary.</param>
/// <param name="Precision">Precision of the parameters.</param>
public sealed record NetworkDigests(string Autoencoder, string TextEncoder, string Vocabulary, string Precision)
{
    /// <summary>
    /// Reads the networks of precomputed data. Null if a folder has no recipe or an incomplete one, or if the folders
    /// differ in their networks.
    /// </summary>
    /// <param name="folders">Folders of precomputed data.</param>
    public static NetworkDigests? Read(IEnumerable<string> folders)
    {
        NetworkDigests?[] all = [.. folders.Select(ReadOne).Distinct()];
        return all.Length == 1 ? all[0] : null;
    }

    /// <summary>Computes the digests of networks as they are in memory.</summary>
    public static NetworkDigests Of(AutoencoderKL autoencoder, ClipTextTower text, ClipTokenizer tokenizer) => new(
        PrecomputeRecipe.Digest(autoencoder), PrecomputeRecipe.Digest(text), tokenizer.Digest[..16],
        $"{autoencoder.parameters().First().dtype}");

    /// <summary>The precision as a type; null if this release does not know it.</summary>
    public ScalarType? Type() => Enum.TryParse(Precision, out ScalarType type) ? type : null;

    private static NetworkDigests? ReadOne(string folder)
    {
        try
        {
            Dictionary<string, string>? recipe = JsonSerializer.Deserialize<Dictionary<string, string>>(
                File.ReadAllText(Path.Combine(folder, Precompute.RecipeFile)));
            return recipe is not null && recipe.TryGetValue("autoencoder", out string? autoencoder)
                && recipe.TryGetValue("text encoder", out string? text)
                && recipe.TryGetValue("vocabulary", out string? vocabulary)
                && recipe.TryGetValue("precision", out string? precision)
                ? new NetworkDigests(autoencoder, text, vocabulary, precision) : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }
}

// What a folder's latents are of. What was begun with another source, seed, precision, size or model is not continued.
using System.Security.Cryptography;
using System.Text.Json;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Model.Data;

/// <summary>Notes and compares the recipe of latents.</summary>
internal static class PrecomputeRecipe
{
    private const string OtherFolder = "Name another folder, or remove this one.";

    /// <summary>Notes the recipe in a folder that is empty, and refuses one that was begun with another.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="source">What identifies the pictures and captions.</param>
    /// <param name="settings">What else the latents depend on.</param>
    /// <exception cref="RefusedFileException">
    /// The folder holds latents of something else, or of what nobody noted.
    /// </exception>
    public static void Check(
        string folder, IReadOnlyDictionary<string, string> source, IReadOnlyDictionary<string, string> settings)
    {
        var recipe = new SortedDictionary<string, string>(
            source.Concat(settings).ToDictionary(StringComparer.Ordinal), StringComparer.Ordinal);
        string path = Path.Combine(folder, Precompute.RecipeFile);
        if (!File.Exists(path))
        {
            if (Directory.EnumerateFileSystemEntries(folder).Any())
            {
                throw new RefusedFileException(
                    folder, Precompute.RecipeFile,
                    "is not there, but other files are; latents need a folder of their own.");
            }

            PrecomputeNotes.Write(folder, Precompute.RecipeFile, recipe);
            return;
        }

        SortedDictionary<string, string> begun;
        try
        {
            begun = JsonSerializer.Deserialize<SortedDictionary<string, string>>(File.ReadAllText(path)) ?? [];
        }
        catch (JsonException error)
        {
            throw new RefusedFileException(path, "line 1", "is no JSON object of texts.", error);
        }

        foreach ((string what, string now) in recipe.Where(pair => begun.GetValueOrDefault(pair.Key) != pair.Value))
        {
            // Earlier releases noted less. Of networks that was enough to tell them apart in practice; of captions and
            // pictures it was not.
            if (begun.TryGetValue(what, out string? then))
            {
                throw new RefusedFileException(
                    path, what, $"is {now} now; these latents were begun with {then}. {OtherFolder}");
            }

            if (source.ContainsKey(what))
            {
                throw new RefusedFileException(
                    path, what,
                    "is not noted there: an earlier release began these latents, and nobody knows whether they are of "
                    + $"the pictures and captions as they are now. {OtherFolder}");
            }
        }
    }

    /// <summary>The first 16 digits of the SHA-256 of a network's parameters, in the order of their names.</summary>
    public static string Digest(nn.Module network)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((_, Parameter parameter) in
            network.named_parameters().OrderBy(pair => pair.name, StringComparer.Ordinal))
        {
            using Tensor local = parameter.detach().cpu().contiguous();
            hash.AppendData(local.bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }
}

// The recipe of a folder's latents, a record of the inputs that they are computed from. Latents that were begun with
// another source, seed, precision, size or model cannot be resumed.
using System.Security.Cryptography;
using System.Text.Json;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Model.Data;

/// <summary>Records and compares the recipe of latents.</summary>
internal static class PrecomputeRecipe
{
    private const string OtherFolder = "Use another folder, or remove this one.";

    /// <summary>
    /// Records the recipe in an empty folder, and refuses a folder that was begun with another recipe.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <param name="source">The identity of the pictures and captions.</param>
    /// <param name="settings">The other inputs of the latents.</param>
    /// <exception cref="RefusedFileException">
    /// The folder holds latents of other inputs, or of inputs that were not recorded.
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
                    "is missing, but the folder holds other files; latents need a folder of their own.");
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
            throw new RefusedFileException(path, "line 1", "is not a JSON object of strings.", error);
        }

        foreach ((string what, string now) in recipe.Where(pair => begun.GetValueOrDefault(pair.Key) != pair.Value))
        {
            // Earlier releases recorded less. That was enough to distinguish networks in practice, but not captions and
            // pictures.
            if (begun.TryGetValue(what, out string? then))
            {
                throw new RefusedFileException(
                    path, what, $"is {now} now; these latents were begun with {then}. {OtherFolder}");
            }

            if (source.ContainsKey(what))
            {
                throw new RefusedFileException(
                    path, what,
                    "is not recorded: an earlier release began these latents, so they may belong to "
                    + $"other pictures and captions. {OtherFolder}");
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

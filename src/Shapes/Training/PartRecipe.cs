// The recipe of a part: the settings of its training as JSON, which must be equal for a checkpoint to be resumed.
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Model;
using Atelier.Model.Runtime;

namespace Atelier.Shapes.Training;

/// <summary>Writes and compares recipes.</summary>
internal static class PartRecipe
{
    /// <summary>Name of the recipe in a file's metadata.</summary>
    public const string Key = "recipe";

    /// <summary>The recipe of a configuration.</summary>
    public static string Of(PartTrainingConfig config) => JsonSerializer.Serialize(config, config.GetType());

    /// <summary>Rejects a file of another training. The message lists the differences.</summary>
    /// <param name="path">The file.</param>
    /// <param name="found">The recipe in the file; null if it has none.</param>
    /// <param name="wanted">The recipe of this training.</param>
    /// <exception cref="RefusedFileException">The recipes differ.</exception>
    public static void Check(string path, string? found, string wanted)
    {
        if (found == wanted)
        {
            return;
        }

        throw new RefusedFileException(
            path, Key,
            $"is that of another training{Differences(found, wanted)}; use the settings of that training, use "
            + "another folder, or remove this file to start over.");
    }

    // The settings that differ, with the values in the file and in this training. If a recipe is unreadable, the
    // differences are not listed.
    private static string Differences(string? found, string wanted)
    {
        try
        {
            if (found is null || JsonNode.Parse(found) is not JsonObject there
                || JsonNode.Parse(wanted) is not JsonObject here)
            {
                return "";
            }

            string[] names = [.. there.Concat(here).Select(setting => setting.Key).Distinct()];
            return string.Concat(names.Where(name => !JsonNode.DeepEquals(there[name], here[name])).Select(Describe));

            string Describe(string name) => name == nameof(PartTrainingConfig.BFloat16)
                ? $", which computes in {Word(there[name])}, not {Word(here[name])}"
                : $", whose {name} is {Text(there[name])}, not {Text(here[name])}";
        }
        catch (JsonException)
        {
            return "";
        }

        static string Text(JsonNode? value) => value?.ToJsonString() ?? "null";

        static string Word(JsonNode? isBFloat16) =>
            isBFloat16?.GetValueKind() == JsonValueKind.True ? Precision.BFloat16 : Precision.Float32;
    }
}

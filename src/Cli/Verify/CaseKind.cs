// The kinds of cases that verify can run.
using System.Text.Json;

namespace Atelier.Cli.Verify;

/// <summary>A kind of case: how to recognize its case.json, and how to run it.</summary>
/// <param name="Name">Its name, for people.</param>
/// <param name="Fits">Whether a case.json is of this kind, judged by its content.</param>
/// <param name="Run">
/// Runs the case and compares; throws if it cannot. Runs without gradients unless it turns them on.
/// </param>
internal sealed record CaseKind(string Name, Func<JsonElement, bool> Fits, Action<CaseFolder, Comparison> Run);

internal static class JsonLookup
{
    /// <summary>A required member.</summary>
    /// <exception cref="KeyNotFoundException">It is missing.</exception>
    public static JsonElement Member(this JsonElement json, string name) =>
        json.TryGetProperty(name, out JsonElement value)
        ? value
        : throw new KeyNotFoundException($"its JSON lacks the member \"{name}\"");

    /// <summary>Whether a path of members exists.</summary>
    public static bool Has(this JsonElement json, params ReadOnlySpan<string> path)
    {
        foreach (string name in path)
        {
            if (json.ValueKind != JsonValueKind.Object || !json.TryGetProperty(name, out json))
            {
                return false;
            }
        }

        return true;
    }
}

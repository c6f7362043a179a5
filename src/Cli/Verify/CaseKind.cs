// The kinds of cases that verify can run.
using System.Text.Json;

namespace Atelier.Cli.Verify;

/// <summary>A kind of case: how to recognize its case.json, and how to run it.</summary>
/// <param name="Name">Its name in messages.</param>
/// <param name="Fits">Whether a case.json is of this kind, judged by its content.</param>
/// <param name="Run">
/// Runs the case and compares the results; throws if the case cannot be run. Gradients are off unless this function
/// turns them on.
/// </param>
internal sealed record CaseKind(string Name, Func<JsonElement, bool> Fits, Action<CaseFolder, Comparison> Run);

internal static class JsonLookup
{
    /// <summary>Returns a required member.</summary>
    /// <exception cref="KeyNotFoundException">The member is missing.</exception>
    public static JsonElement Member(this JsonElement json, string name) =>
        json.TryGetProperty(name, out JsonElement value)
        ? value
        : throw new KeyNotFoundException($"its JSON lacks the member \"{name}\"");

    /// <summary>Whether a member exists; a path leads through nested objects.</summary>
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

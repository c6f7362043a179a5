// What verify can run.
using System.Text.Json;

namespace Atelier.Cli.Verify;

/// <summary>A kind of case: how its case.json is told from others, and how it is run.</summary>
/// <param name="Name">What it is, for people.</param>
/// <param name="Fits">Whether a case.json is of this kind, by its content alone.</param>
/// <param name="Run">
/// Runs the case and compares; throws if it cannot. Runs without gradients unless it turns them on.
/// </param>
internal sealed record CaseKind(string Name, Func<JsonElement, bool> Fits, Action<CaseFolder, Comparison> Run);

internal static class JsonLookup
{
    /// <summary>A member that a case cannot do without.</summary>
    /// <exception cref="KeyNotFoundException">It is not there.</exception>
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

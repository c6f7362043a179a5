// The JSON form of training's records and messages. It keeps the pure protocols independent of Orleans.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Grains.Training;

/// <summary>
/// Writes and reads training's records and messages as JSON. Absent members get their default values.
/// </summary>
internal static class TrainingJson
{
    /// <summary>How records and messages are written and read.</summary>
    public static JsonSerializerOptions Options { get; } = new()
    {
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>Writes a record or a message.</summary>
    public static string Write<T>(T value) => JsonSerializer.Serialize(value, Options);

    /// <summary>Reads a text that <see cref="Write"/> wrote; null if the text is null.</summary>
    public static T? Read<T>(string? json)
        where T : class => json is null ? null : JsonSerializer.Deserialize<T>(json, Options);
}

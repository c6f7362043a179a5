// How records and messages of training are written: as JSON, so that the pure protocols need no Orleans.
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Grains.Training;

/// <summary>The JSON of training's records and messages. Members that are absent keep their defaults.</summary>
internal static class TrainingJson
{
    private static readonly JsonSerializerOptions s_options = new()
    {
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>Writes a record or a message.</summary>
    public static string Write<T>(T value) => JsonSerializer.Serialize(value, s_options);

    /// <summary>Reads what <see cref="Write"/> wrote; null if there is nothing.</summary>
    public static T? Read<T>(string? json)
        where T : class => json is null ? null : JsonSerializer.Deserialize<T>(json, s_options);
}

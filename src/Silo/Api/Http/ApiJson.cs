// How the API writes JSON: members in snake_case, times in ISO 8601, enumerations as snake_case words.
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Atelier.Silo.Api.Http;

/// <summary>Options and names.</summary>
internal static class ApiJson
{
    /// <summary>Gets the options of all that is written.</summary>
    public static JsonSerializerOptions Options { get; } = Configured(new JsonSerializerOptions());

    /// <summary>Sets options.</summary>
    public static JsonSerializerOptions Configured(JsonSerializerOptions options)
    {
        options.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower;
        options.NumberHandling = JsonNumberHandling.Strict;

        // Answers are JSON in a body of its own, never part of a page; base64 keeps its '+'.
        options.Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
        options.TypeInfoResolver ??= new DefaultJsonTypeInfoResolver();
        return options;
    }

    /// <summary>
    /// The names of a shape's members: what a body of that shape may contain is what its description says.
    /// </summary>
    public static IReadOnlyCollection<string> MembersOf<TShape>() => Members<TShape>.Names;

    /// <summary>A value of an enumeration as a word.</summary>
    public static string NameOf<T>(T value) where T : struct, Enum =>
        JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString());

    private static class Members<TShape>
    {
        public static readonly string[] Names =
            [.. Options.GetTypeInfo(typeof(TShape)).Properties.Select(member => member.Name)];
    }
}

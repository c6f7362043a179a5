// The API's JSON: members in snake_case, times in ISO 8601, enumerations as snake_case words.
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Atelier.Silo.Api.Http;

/// <summary>JSON options and names.</summary>
internal static class ApiJson
{
    /// <summary>Gets the options for everything that the API serializes.</summary>
    public static JsonSerializerOptions Options { get; } = Configured(new JsonSerializerOptions());

    /// <summary>Applies the API's settings to <paramref name="options"/> and returns them.</summary>
    public static JsonSerializerOptions Configured(JsonSerializerOptions options)
    {
        options.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower;
        options.NumberHandling = JsonNumberHandling.Strict;

        // Responses are never embedded in HTML, so base64 may keep its '+'.
        options.Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
        options.TypeInfoResolver ??= new DefaultJsonTypeInfoResolver();
        return options;
    }

    /// <summary>
    /// The JSON names of a type's members, which are the only ones that a body of that type may have.
    /// </summary>
    public static IReadOnlyCollection<string> MembersOf<TShape>() => Members<TShape>.Names;

    /// <summary>The name of an enumeration's value, in snake_case.</summary>
    public static string NameOf<T>(T value) where T : struct, Enum =>
        JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString());

    private static class Members<TShape>
    {
        public static readonly string[] Names =
            [.. Options.GetTypeInfo(typeof(TShape)).Properties.Select(member => member.Name)];
    }
}

using Atelier.Contracts;

namespace Atelier.Silo.Api.Http;

/// <summary>Paths of the API's resources.</summary>
internal static class Paths
{
    public static string Generation(GenerationId id) => $"/v1/generations/{id}";

    public static string Picture(GenerationId id) => $"/v1/generations/{id}/picture";

    public static string Preview(GenerationId id, int index) => $"/v1/generations/{id}/previews/{index}";

    public static string Link(string token) => $"/v1/pictures/{token}";
}

// The JSON types of requests to the native routes, as opposed to OpenAI's. A request may have these members and no
// others.
namespace Atelier.Silo.Api.Generations;

/// <summary>A request to generate a picture.</summary>
internal sealed record CreateGenerationRequest
{
    /// <summary>
    /// Id of the generation, for safe retries: sending the same id and request again returns the same generation. If it
    /// is left out, the server chooses an id.
    /// </summary>
    public string? Id { get; init; }

    /// <summary>What the picture should show.</summary>
    public required string Prompt { get; init; }

    /// <summary>What guidance steers the picture away from.</summary>
    public string? NegativePrompt { get; init; }

    /// <summary>A model's name, alias or digest; if left out, the default model.</summary>
    public string? Model { get; init; }

    /// <summary>Seed, as a number or as text; if left out, it is derived from the id.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Number of steps, 1 to 1000; if left out, the model's default.</summary>
    public int? Steps { get; init; }

    /// <summary>
    /// Classifier-free guidance scale, 1 to 100; 1 means no guidance. If left out, the model's default.
    /// </summary>
    public double? Guidance { get; init; }

    /// <summary>Width and height such as 256x256, or auto for the model's native size.</summary>
    public string? Size { get; init; }

    /// <summary>Number of previews, 0 to 3.</summary>
    public int? Previews { get; init; }
}

/// <summary>A request to vary a generation.</summary>
internal sealed record CreateVariationRequest
{
    /// <summary>Id of the variation.</summary>
    public string? Id { get; init; }

    /// <summary>Seed of the variation; if left out, the original's seed plus 1.</summary>
    public ulong? Seed { get; init; }
}

namespace Atelier.Silo.Api.Generations;

/// <summary>A request to generate.</summary>
internal sealed record CreateGenerationRequest
{
    /// <summary>
    /// Id of the generation, for requests that are sent again: the same id and request is the same generation.
    /// </summary>
    public string? Id { get; init; }

    /// <summary>What the picture shows.</summary>
    public required string Prompt { get; init; }

    /// <summary>What guidance leads away from.</summary>
    public string? NegativePrompt { get; init; }

    /// <summary>A model's name, alias or digest; without it, the default model.</summary>
    public string? Model { get; init; }

    /// <summary>Seed, as a number or as text; without it, one that follows from the id.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Steps, 1 to 1000; without them, the model's own.</summary>
    public int? Steps { get; init; }

    /// <summary>Classifier-free guidance scale, 1 to 100; 1 is none.</summary>
    public double? Guidance { get; init; }

    /// <summary>Width and height such as 256x256, or auto for the model's own.</summary>
    public string? Size { get; init; }

    /// <summary>Previews on the way, 0 to 3.</summary>
    public int? Previews { get; init; }
}

/// <summary>A request to vary a generation.</summary>
internal sealed record CreateVariationRequest
{
    /// <summary>Id of the variation.</summary>
    public string? Id { get; init; }

    /// <summary>Its seed; without it, the next one.</summary>
    public ulong? Seed { get; init; }
}

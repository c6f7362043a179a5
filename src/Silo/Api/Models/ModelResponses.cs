using Atelier.Contracts.Models;

namespace Atelier.Silo.Api.Models;

/// <summary>A model, with what OpenAI's clients expect and what they leave alone.</summary>
internal sealed record ModelResponse
{
    /// <summary>Its name.</summary>
    public required string Id { get; init; }

    /// <summary>Always "model".</summary>
    public string Object { get; init; } = "model";

    /// <summary>Always 0: a model is known by its content, not by its age.</summary>
    public long Created { get; init; }

    /// <summary>Always "atelier".</summary>
    public string OwnedBy { get; init; } = "atelier";

    /// <summary>Digest of its content.</summary>
    public required string Digest { get; init; }

    /// <summary>Other names by which requests may ask for it.</summary>
    public required string[] Aliases { get; init; }

    /// <summary>Whether requests that name no model get it.</summary>
    public required bool IsDefault { get; init; }

    /// <summary>Licence of its weights.</summary>
    public required string Licence { get; init; }

    /// <summary>Sizes of pictures that it draws, the native one first.</summary>
    public required string[] Sizes { get; init; }

    /// <summary>Steps, where a request does not say.</summary>
    public required int Steps { get; init; }

    /// <summary>Guidance, where a request does not say.</summary>
    public required double Guidance { get; init; }

    /// <summary>Tokens of a prompt that its text encoder takes; what follows them has no effect.</summary>
    public required int? PromptTokensMax { get; init; }

    public static ModelResponse Of(ModelCard card) => new()
    {
        Id = card.Name,
        Digest = card.Digest.Value,
        Aliases = card.Aliases,
        IsDefault = card.IsDefault,
        Licence = card.Licence,
        Sizes = [.. card.Sizes.Select(size => size.ToString())],
        Steps = card.Steps,
        Guidance = card.Guidance,
        PromptTokensMax = card.PromptTokensMax > 0 ? card.PromptTokensMax : null,
    };
}

/// <summary>The models.</summary>
/// <param name="Object">Always "list".</param>
/// <param name="Data">The models, the default one first.</param>
internal sealed record ModelListResponse(string Object, ModelResponse[] Data);

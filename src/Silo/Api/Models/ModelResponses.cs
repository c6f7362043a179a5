using Atelier.Contracts.Models;

namespace Atelier.Silo.Api.Models;

/// <summary>A model: the members of OpenAI's API, and more that OpenAI's clients ignore.</summary>
internal sealed record ModelResponse
{
    /// <summary>Name of the model, as requests use it.</summary>
    public required string Id { get; init; }

    /// <summary>Always "model".</summary>
    public string Object { get; init; } = "model";

    /// <summary>Always 0: a model is identified by its content, not by its age.</summary>
    public long Created { get; init; }

    /// <summary>Always "atelier".</summary>
    public string OwnedBy { get; init; } = "atelier";

    /// <summary>Digest of the model's content.</summary>
    public required string Digest { get; init; }

    /// <summary>Other names of the model that requests may use.</summary>
    public required string[] Aliases { get; init; }

    /// <summary>Whether requests without a model use this model.</summary>
    public required bool IsDefault { get; init; }

    /// <summary>License of the weights.</summary>
    public required string Licence { get; init; }

    /// <summary>Picture sizes that the model draws, such as 256x256, the native one first.</summary>
    public required string[] Sizes { get; init; }

    /// <summary>Default number of steps.</summary>
    public required int Steps { get; init; }

    /// <summary>Default guidance scale.</summary>
    public required double Guidance { get; init; }

    /// <summary>
    /// Maximum number of prompt tokens that the text encoder uses; the rest have no effect. Null if not known.
    /// </summary>
    public required int? PromptTokensMax { get; init; }

    /// <summary>The checkpoint that the model was published from; null for a model from a folder.</summary>
    public TrainedResponse? Trained { get; init; }

    public static ModelResponse Of(ModelCard card, bool? superseded) => new()
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
        Trained = card.Origin is { } origin ? TrainedResponse.Of(origin, superseded) : null,
    };
}

/// <summary>The checkpoint that a model was published from.</summary>
/// <param name="Run">The training run.</param>
/// <param name="Stage">Index of the stage.</param>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
/// <param name="Digest">SHA-256 of the checkpoint's last weights, as a stage shows it at its end.</param>
/// <param name="Superseded">
/// Whether the run has gone back behind that step since, so that its result does not contain these weights. Null if the
/// run did not answer.
/// </param>
internal sealed record TrainedResponse(string Run, int Stage, long Step, string Digest, bool? Superseded)
{
    public static TrainedResponse Of(ModelOrigin origin, bool? superseded) =>
        new(origin.Run, origin.Stage, origin.Step, origin.Weights, superseded);
}

/// <summary>The models.</summary>
/// <param name="Object">Always "list".</param>
/// <param name="Data">The models, the default one first.</param>
internal sealed record ModelListResponse(string Object, ModelResponse[] Data);

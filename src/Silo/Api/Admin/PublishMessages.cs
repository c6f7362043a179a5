using Atelier.Contracts.Models;
using Atelier.Silo.Api.Models;

namespace Atelier.Silo.Api.Admin;

/// <summary>The publication of a checkpoint as a model.</summary>
internal sealed record PublishRunRequest
{
    /// <summary>Name of the model. The same checkpoint under the same name again gives the same response.</summary>
    public required string Name { get; init; }

    /// <summary>Index of the stage; by default the current one.</summary>
    public int? Stage { get; init; }

    /// <summary>Number of steps of the checkpoint, which must be kept; by default the last checkpoint.</summary>
    public long? Step { get; init; }

    /// <summary>
    /// The model with the autoencoder and the text encoder, by name, alias or digest; by default the one whose networks
    /// made the stage's latents, as recorded beside the data.
    /// </summary>
    public string? Model { get; init; }
}

/// <summary>A publication.</summary>
internal sealed record PublicationResponse
{
    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>
    /// The state: published, or publishing if it takes longer than one request. In that case, repeat the request with
    /// this stage and step.
    /// </summary>
    public required string Status { get; init; }

    /// <summary>Index of the stage.</summary>
    public required int Stage { get; init; }

    /// <summary>Number of steps that the checkpoint includes.</summary>
    public required long Step { get; init; }

    /// <summary>Digest of the model's content; null before the model is published.</summary>
    public string? Digest { get; init; }

    /// <summary>Digest of the model with the autoencoder and the text encoder; null before.</summary>
    public string? Base { get; init; }

    /// <summary>Where the weights come from; null before.</summary>
    public TrainedResponse? Trained { get; init; }

    /// <summary>When the model was published; null before.</summary>
    public DateTimeOffset? PublishedAt { get; init; }

    public static PublicationResponse Of(PublishedModel model, bool? superseded) => new()
    {
        Name = model.Name,
        Status = "published",
        Stage = model.Origin.Stage,
        Step = model.Origin.Step,
        Digest = model.Digest.Value,
        Base = model.Base.Value,
        Trained = TrainedResponse.Of(model.Origin, superseded),
        PublishedAt = model.PublishedAt,
    };
}

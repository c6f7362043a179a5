// The description of a model that a cluster offers: its digest, its names, and the cost of a picture.
namespace Atelier.Contracts.Models;

/// <summary>A model, as described by the workers that can load it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.ModelCard")]
public sealed record ModelCard
{
    /// <summary>The model's identity: the digest of its content.</summary>
    [Id(0)]
    public required ModelDigest Digest { get; init; }

    /// <summary>The name that requests use for the model.</summary>
    [Id(1)]
    public required string Name { get; init; }

    /// <summary>Other names that requests may use for the model.</summary>
    [Id(2)]
    public string[] Aliases { get; init; } = [];

    /// <summary>Whether the model serves requests that do not name one.</summary>
    [Id(3)]
    public bool IsDefault { get; init; }

    /// <summary>License of the weights.</summary>
    [Id(4)]
    public string Licence { get; init; } = "";

    /// <summary>Sizes of the pictures that the model draws, the native one first.</summary>
    [Id(5)]
    public required PictureSize[] Sizes { get; init; }

    /// <summary>Default number of steps.</summary>
    [Id(6)]
    public required int Steps { get; init; }

    /// <summary>Default guidance scale.</summary>
    [Id(7)]
    public required double Guidance { get; init; }

    /// <summary>Floating-point operations to encode one caption.</summary>
    [Id(8)]
    public required double EncodeCost { get; init; }

    /// <summary>Floating-point operations of one network evaluation for one row at the native size.</summary>
    [Id(9)]
    public required double EvaluationCost { get; init; }

    /// <summary>Floating-point operations to decode one latent at the native size.</summary>
    [Id(10)]
    public required double DecodeCost { get; init; }

    /// <summary>Memory that the model takes on a device, in bytes.</summary>
    [Id(11)]
    public long MemoryBytes { get; init; }

    /// <summary>
    /// The model that has taken over this model's name, if no live worker holds this model; otherwise null. With a
    /// successor, this model is retired and gets no new requests. Set by the catalog.
    /// </summary>
    [Id(12)]
    public ModelDigest? ReplacedBy { get; init; }

    /// <summary>Time since a worker last confirmed the model. Set by the catalog.</summary>
    [Id(13)]
    public TimeSpan Unconfirmed { get; init; }

    /// <summary>
    /// Maximum number of prompt tokens that the text encoder takes, not counting the start and end tokens; 0 if the
    /// worker does not report the number.
    /// </summary>
    [Id(14)]
    public int PromptTokensMax { get; init; }

    /// <summary>The checkpoint whose weights a published model has; null for a model from a folder.</summary>
    [Id(15)]
    public ModelOrigin? Origin { get; init; }

    /// <summary>What is wrong with a worker's card, as a sentence; null if it is valid.</summary>
    public string? Fault() => this switch
    {
        { Sizes.Length: 0 } => $"The model '{Name}' lists no picture sizes.",
        { EncodeCost: not > 0 } or { EvaluationCost: not > 0 } or { DecodeCost: not > 0 } =>
            $"The costs of model '{Name}' must be positive.",
        _ => null,
    };
}

/// <summary>Width and height of a picture, in pixels.</summary>
/// <param name="Width">Width in pixels.</param>
/// <param name="Height">Height in pixels.</param>
[GenerateSerializer, Immutable, Alias("atelier.PictureSize")]
public readonly record struct PictureSize([property: Id(0)] int Width, [property: Id(1)] int Height)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Width}x{Height}";
}

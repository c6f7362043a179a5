// The models that a cluster offers: names for digests, and what a picture costs.
namespace Atelier.Contracts.Models;

/// <summary>A model, as the workers that hold it describe it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.ModelCard")]
public sealed record ModelCard
{
    /// <summary>Identity: digest of its content.</summary>
    [Id(0)]
    public required ModelDigest Digest { get; init; }

    /// <summary>Name by which requests ask for it.</summary>
    [Id(1)]
    public required string Name { get; init; }

    /// <summary>Other names by which requests may ask for it.</summary>
    [Id(2)]
    public string[] Aliases { get; init; } = [];

    /// <summary>Whether it serves requests that do not name a model.</summary>
    [Id(3)]
    public bool IsDefault { get; init; }

    /// <summary>Licence of the weights.</summary>
    [Id(4)]
    public string Licence { get; init; } = "";

    /// <summary>Sizes of pictures that it draws, the native one first.</summary>
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
    /// The model that has taken over its name, if no live worker holds this one: it is retired and closed to new
    /// requests. Set by the catalogue.
    /// </summary>
    [Id(12)]
    public ModelDigest? ReplacedBy { get; init; }

    /// <summary>Time since a worker last confirmed it. Set by the catalogue.</summary>
    [Id(13)]
    public TimeSpan Unconfirmed { get; init; }

    /// <summary>
    /// Tokens of a prompt that its text encoder takes, without the start and end marks; 0 if the worker does not report
    /// it.
    /// </summary>
    [Id(14)]
    public int PromptTokensMax { get; init; }

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

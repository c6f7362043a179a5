// The models that a cluster offers: names for digests, and what a picture costs.
namespace Atelier.Contracts;

/// <summary>A model, as the workers that hold it describe it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.ModelCard")]
public sealed record ModelCard
{
    /// <summary>Identity: digest of its content.</summary>
    [Id(0)]
    public required ModelDigest Digest { get; init; }

    /// <summary>Its name.</summary>
    [Id(1)]
    public required string Name { get; init; }

    /// <summary>Other names by which requests may ask for it.</summary>
    [Id(2)]
    public string[] Aliases { get; init; } = [];

    /// <summary>Whether requests that name no model get it.</summary>
    [Id(3)]
    public bool IsDefault { get; init; }

    /// <summary>Licence of the weights.</summary>
    [Id(4)]
    public string Licence { get; init; } = "";

    /// <summary>Widths and heights of pictures that it draws, the native one first.</summary>
    [Id(5)]
    public required PictureSize[] Sizes { get; init; }

    /// <summary>Steps, where a request does not say.</summary>
    [Id(6)]
    public required int Steps { get; init; }

    /// <summary>Guidance, where a request does not say.</summary>
    [Id(7)]
    public required double Guidance { get; init; }

    /// <summary>Operations of encoding one caption.</summary>
    [Id(8)]
    public required double EncodeCost { get; init; }

    /// <summary>Operations of one evaluation of the network for one row at the native size.</summary>
    [Id(9)]
    public required double EvaluationCost { get; init; }

    /// <summary>Operations of decoding one latent at the native size.</summary>
    [Id(10)]
    public required double DecodeCost { get; init; }

    /// <summary>Memory that the model takes on a device, in bytes.</summary>
    [Id(11)]
    public long MemoryBytes { get; init; }

    /// <summary>
    /// The model that has its name now, where no live worker holds this one: it is retired, and no new request may ask
    /// for it. Said by the catalogue.
    /// </summary>
    [Id(12)]
    public ModelDigest? ReplacedBy { get; init; }

    /// <summary>How long no worker has confirmed it. Said by the catalogue.</summary>
    [Id(13)]
    public TimeSpan Unconfirmed { get; init; }

    /// <summary>
    /// Tokens of a prompt that its text encoder takes, without the start and end marks; 0 if the worker does not report
    /// it.
    /// </summary>
    [Id(14)]
    public int PromptTokensMax { get; init; }

    /// <summary>What is wrong with a worker's card, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        { Sizes.Length: 0 } => $"The model '{Name}' has no size of pictures.",
        { EncodeCost: not > 0 } or { EvaluationCost: not > 0 } or { DecodeCost: not > 0 } =>
            $"The costs of model '{Name}' must be positive.",
        _ => null,
    };
}

/// <summary>Width and height of a picture, in pixels.</summary>
/// <param name="Width">Width.</param>
/// <param name="Height">Height.</param>
[GenerateSerializer, Immutable, Alias("atelier.PictureSize")]
public readonly record struct PictureSize([property: Id(0)] int Width, [property: Id(1)] int Height)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Width}x{Height}";
}

/// <summary>The models of a cluster; its key is 0.</summary>
[Alias("atelier.IModelCatalogueGrain")]
public interface IModelCatalogGrain : IGrainWithIntegerKey
{
    /// <summary>Most models in a catalogue.</summary>
    const int SizeMax = 64;

    /// <summary>A worker says what it can hold, again and again; false if the catalogue is full.</summary>
    /// <exception cref="ArgumentException">Something is wrong with the card.</exception>
    [Alias("Register")]
    Task<bool> RegisterAsync(ModelCard card);

    /// <summary>All models that are not retired, the default one first.</summary>
    [Alias("List")]
    Task<ModelCard[]> ListAsync();

    /// <summary>
    /// The model of a digest, a name or an alias; without a name the default one. Of several of a name it is the newest
    /// that a live worker holds.
    /// </summary>
    [Alias("Find")]
    Task<ModelCard?> FindAsync(string? name);
}

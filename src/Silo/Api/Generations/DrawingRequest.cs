// What every request to draw says, on whichever route it comes: words, model and settings; and how a model's card turns
// them into a specification.

using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>What to draw, as far as the request says.</summary>
internal sealed record DrawingRequest
{
    /// <summary>The size that stands for the model's own.</summary>
    public const string NativeSize = "auto";

    private const int ModelLengthMax = 256;
    private const int SizeLengthMax = 32;

    /// <summary>Gets what the picture shows.</summary>
    public required string Prompt { get; init; }

    /// <summary>Gets what guidance leads away from.</summary>
    public string Negative { get; init; } = "";

    /// <summary>Gets a model's name, alias or digest.</summary>
    public string? Model { get; init; }

    /// <summary>Gets the seed.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Gets the steps.</summary>
    public int? Steps { get; init; }

    /// <summary>Gets the guidance scale.</summary>
    public double? Guidance { get; init; }

    /// <summary>Gets the size.</summary>
    public string? Size { get; init; }

    /// <summary>Reads the members that all routes share.</summary>
    /// <exception cref="ApiException">One is wrong.</exception>
    public static DrawingRequest Read(JsonFields fields)
    {
        string prompt = fields.Text("prompt", GenerationSpec.PromptLengthMax)
            ?? throw new ApiException(ApiError.Invalid(
                "prompt", "missing_required_parameter", "'prompt' is missing: say in words what the picture shows."));
        if (string.IsNullOrWhiteSpace(prompt))
        {
            throw new ApiException(ApiError.Invalid(
                "prompt", "invalid_value", "'prompt' is empty: say in words what the picture shows."));
        }

        return new DrawingRequest
        {
            Prompt = prompt,
            Negative = fields.Text("negative_prompt", GenerationSpec.PromptLengthMax) ?? "",
            Model = fields.Text("model", ModelLengthMax),
            Seed = fields.Seed("seed"),
            Steps = (int?)fields.Whole("steps", 1, GenerationSpec.StepsMax),
            Guidance = fields.Number("guidance", 1, 100),
            Size = fields.Text("size", SizeLengthMax),
        };
    }

    /// <summary>The specification that this gives with a model.</summary>
    /// <param name="card">The model.</param>
    /// <param name="seed">The seed, where the request gives none.</param>
    /// <param name="effort">Factor on the model's steps, where the request gives none.</param>
    /// <exception cref="ApiException">The model does not draw that size, or both prompts together are too
    /// long.</exception>
    public GenerationSpec ToSpec(ModelCard card, ulong seed, double effort = 1)
    {
        PictureSize size = Size is null or NativeSize
            ? card.Sizes[0]
            : card.Sizes.FirstOrDefault(one => one.ToString() == Size);
        if (size == default)
        {
            throw new ApiException(ApiError.Invalid(
                "size", "invalid_value",
                $"'{Size}' is no size that the model '{card.Name}' draws: 'size' must be auto or one of "
                + $"{string.Join(", ", card.Sizes)}."));
        }

        var spec = new GenerationSpec
        {
            Model = card.Digest,
            Prompt = Prompt,
            Negative = Negative,
            Seed = Seed ?? seed,
            Steps = Steps
                ?? (int)Math.Clamp(
                    Math.Round(card.Steps * effort, MidpointRounding.AwayFromZero), 1, GenerationSpec.StepsMax),
            Guidance = Guidance ?? card.Guidance,
            Width = size.Width,
            Height = size.Height,
        };
        return spec.Fault() is { } fault
            ? throw new ApiException(ApiError.Invalid("prompt", "invalid_value", fault))
            : spec;
    }
}

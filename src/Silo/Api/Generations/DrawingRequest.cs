// The settings that drawing requests have in common on all routes: prompts, model, seed, steps, guidance and size. The
// defaults in a model's card complete them into a specification.

using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>The settings in a request; a setting that is null has the model's default.</summary>
internal sealed record DrawingRequest
{
    /// <summary>The value of size that means the model's native size.</summary>
    public const string NativeSize = "auto";

    private const int ModelLengthMax = 256;
    private const int SizeLengthMax = 32;

    /// <summary>Gets the prompt: what the picture should show.</summary>
    public required string Prompt { get; init; }

    /// <summary>Gets the negative prompt: what guidance steers the picture away from.</summary>
    public string Negative { get; init; } = "";

    /// <summary>Gets a model's name, alias or digest; null for the default model.</summary>
    public string? Model { get; init; }

    /// <summary>Gets the seed; null for one derived from the generation's id.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Gets the number of steps, 1 to <see cref="GenerationSpec.StepsMax"/>.</summary>
    public int? Steps { get; init; }

    /// <summary>Gets the guidance scale, 1 to 100.</summary>
    public double? Guidance { get; init; }

    /// <summary>Gets the size, such as 256x256 or <see cref="NativeSize"/>.</summary>
    public string? Size { get; init; }

    /// <summary>Reads the members that all routes share.</summary>
    /// <exception cref="ApiException">A member has a wrong type or value, or there is no prompt.</exception>
    public static DrawingRequest Read(JsonFields fields)
    {
        string prompt = fields.Text("prompt", GenerationSpec.PromptLengthMax)
            ?? throw new ApiException(ApiError.Invalid(
                "prompt", "missing_required_parameter", "'prompt' is missing: describe what the picture should show."));
        if (string.IsNullOrWhiteSpace(prompt))
        {
            throw new ApiException(ApiError.Invalid(
                "prompt", "invalid_value", "'prompt' is empty: describe what the picture should show."));
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

    /// <summary>Completes these settings with a model's defaults.</summary>
    /// <param name="card">The model.</param>
    /// <param name="seed">The seed to use if the request has none.</param>
    /// <param name="effort">
    /// Factor by which the model's default number of steps is multiplied if the request does not give one.
    /// </param>
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
                $"'{Size}' is not a size that the model '{card.Name}' draws: 'size' must be auto or one of "
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

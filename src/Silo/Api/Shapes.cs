// The shapes of native requests and answers. Their members and what is said of them here are the OpenAPI document's,
// and a request may have these members and no others.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Sessions;

namespace Atelier.Silo.Api;

/// <summary>A request to generate.</summary>
internal sealed record GenerationBody
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
internal sealed record VariationBody
{
    /// <summary>Id of the variation.</summary>
    public string? Id { get; init; }

    /// <summary>Its seed; without it, the next one.</summary>
    public ulong? Seed { get; init; }
}

/// <summary>A request to begin a session.</summary>
internal sealed record SessionBody
{
    /// <summary>Id of the session; one that exists goes on.</summary>
    public string? Id { get; init; }
}

/// <summary>A session.</summary>
/// <param name="Id">Which one.</param>
/// <param name="CreatedAt">When it began.</param>
/// <param name="Generations">Generations that were submitted in it.</param>
internal sealed record SessionShape(string Id, DateTimeOffset CreatedAt, int Generations)
{
    public static SessionShape Of(SessionView view) => new(view.Key.Id.Value, view.CreatedAt, view.Generations);
}

/// <summary>A part of a session's history, oldest first.</summary>
/// <param name="Items">Generations; those that are deleted are left out.</param>
/// <param name="Next">Where the next part begins; null at the end.</param>
internal sealed record HistoryShape(GenerationShape[] Items, int? Next);

/// <summary>Why a generation failed.</summary>
/// <param name="Code">One of worker_lost, out_of_memory, kernel_failed, invalid_request, blob_lost, non_finite and model_retired.</param>
/// <param name="Message">The same in a sentence.</param>
internal sealed record FailureShape(string Code, string Message)
{
    public static FailureShape? Of(GenerationError error, string? message) =>
        error == GenerationError.None
            ? null
            : new FailureShape(ApiJson.NameOf(error), message ?? "The generation failed.");
}

/// <summary>How much of a prompt the text encoder takes, in its tokens.</summary>
/// <param name="Given">Tokens of the whole prompt.</param>
/// <param name="Used">Those of them that the text encoder takes, the first ones; the others have no effect.</param>
/// <param name="CutAt">Where it is cut, as the beginning of what is left out, in lower case; null if it is not.</param>
internal sealed record TokensShape(int Given, int Used, string? CutAt)
{
    public static TokensShape? Of(PromptTokens? tokens) =>
        tokens is null ? null : new TokensShape(tokens.Given, tokens.Used, tokens.CutAt);
}

/// <summary>A generation.</summary>
internal sealed record GenerationShape
{
    /// <summary>Which one.</summary>
    public required string Id { get; init; }

    /// <summary>The session it belongs to, if any.</summary>
    public required string? Session { get; init; }

    /// <summary>
    /// Where it stands: queued_encode, encoding, queued_denoise, denoising, queued_decode, decoding, done, failed or
    /// cancelled.
    /// </summary>
    public required string Phase { get; init; }

    /// <summary>Steps done.</summary>
    public required int Step { get; init; }

    /// <summary>Steps in all.</summary>
    public required int Steps { get; init; }

    /// <summary>Pieces of this tenant's work that come first, while it waits.</summary>
    public required int? Position { get; init; }

    /// <summary>Estimated time until its work starts, in seconds, while it waits and an estimate is known.</summary>
    public required double? WaitSeconds { get; init; }

    /// <summary>What the picture shows.</summary>
    public required string Prompt { get; init; }

    /// <summary>What guidance leads away from.</summary>
    public required string NegativePrompt { get; init; }

    /// <summary>How much of the prompt the text encoder takes; null until it was encoded.</summary>
    public required TokensShape? PromptTokens { get; init; }

    /// <summary>The same of the negative prompt; null also where there is none, or guidance is 1.</summary>
    public required TokensShape? NegativePromptTokens { get; init; }

    /// <summary>The model's digest.</summary>
    public required string Model { get; init; }

    /// <summary>Seed. It may be larger than JavaScript's numbers hold exactly: see seed_text.</summary>
    public required ulong Seed { get; init; }

    /// <summary>The seed as text.</summary>
    public required string SeedText { get; init; }

    /// <summary>Classifier-free guidance scale.</summary>
    public required double Guidance { get; init; }

    /// <summary>Width and height.</summary>
    public required string Size { get; init; }

    /// <summary>The generation that this one varies, if any.</summary>
    public required string? VariationOf { get; init; }

    /// <summary>Where the picture is, once done.</summary>
    public required string? Picture { get; init; }

    /// <summary>Why it failed, if it did.</summary>
    public required FailureShape? Error { get; init; }

    /// <summary>When it was accepted.</summary>
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When it ended.</summary>
    public required DateTimeOffset? EndedAt { get; init; }

    /// <summary>How often it began again at step 0 because no device of its kind was left.</summary>
    public required int Restarts { get; init; }

    /// <summary>The device kind that denoised it, as far as it is.</summary>
    public required string? DeviceKind { get; init; }

    public static GenerationShape Of(GenerationView view)
    {
        GenerationSpec spec = view.Submission.Spec;
        return new GenerationShape
        {
            Id = view.Key.Id.Value,
            Session = view.Submission.Session?.Value,
            Phase = ApiJson.NameOf(view.Phase),
            Step = view.Step,
            Steps = spec.Steps,
            Position = view.Place?.Position,
            WaitSeconds = view.Place?.Wait is { } wait ? Math.Round(wait.TotalSeconds, 1) : null,
            Prompt = spec.Prompt,
            NegativePrompt = spec.Negative,
            PromptTokens = TokensShape.Of(view.Encoded?.Prompt),
            NegativePromptTokens = TokensShape.Of(view.Encoded?.Negative),
            Model = spec.Model.Value,
            Seed = spec.Seed,
            SeedText = spec.Seed.ToString(CultureInfo.InvariantCulture),
            Guidance = spec.Guidance,
            Size = new PictureSize(spec.Width, spec.Height).ToString(),
            VariationOf = view.Submission.VariationOf?.Value,
            Picture = view.Picture is null ? null : Paths.Picture(view.Key.Id),
            Error = FailureShape.Of(view.Error, view.Message),
            AcceptedAt = view.AcceptedAt,
            EndedAt = view.EndedAt,
            Restarts = view.Restarts,
            DeviceKind = view.DeviceKind,
        };
    }
}

/// <summary>An event of a generation.</summary>
/// <param name="Phase">The phase entered, or in which a step was done.</param>
/// <param name="Step">Steps done.</param>
/// <param name="Steps">Steps in all.</param>
/// <param name="Preview">Where a preview of the picture at this step is, if one was asked for here.</param>
/// <param name="PreviewIndex">Which preview it is, from 0.</param>
/// <param name="Picture">Where the picture is, once done.</param>
/// <param name="Error">Why it failed, if it did.</param>
internal sealed record EventShape(
    string Phase, int Step, int Steps, string? Preview, int? PreviewIndex, string? Picture, FailureShape? Error)
{
    public static EventShape Of(GenerationId id, GenerationEvent one) => new(
        ApiJson.NameOf(one.Phase), one.Step, one.Steps,
        one.Preview is null ? null : Paths.Preview(id, one.PreviewIndex), one.Preview is null ? null : one.PreviewIndex,
        one.Picture is null ? null : Paths.Picture(id), FailureShape.Of(one.Error, one.Message));
}

/// <summary>A model, with what OpenAI's clients expect and what they leave alone.</summary>
internal sealed record ModelShape
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

    public static ModelShape Of(ModelCard card) => new()
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
internal sealed record ModelsShape(string Object, ModelShape[] Data);

/// <summary>Where things are.</summary>
internal static class Paths
{
    public static string Generation(GenerationId id) => $"/v1/generations/{id}";

    public static string Picture(GenerationId id) => $"/v1/generations/{id}/picture";

    public static string Preview(GenerationId id, int index) => $"/v1/generations/{id}/previews/{index}";

    public static string Link(string token) => $"/v1/pictures/{token}";
}

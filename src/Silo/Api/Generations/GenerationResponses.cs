// The JSON types of responses from the native routes, as opposed to OpenAI's. Their members and summaries appear in the
// OpenAPI document.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>Why a generation failed.</summary>
/// <param name="Code">
/// One of worker_lost, out_of_memory, kernel_failed, invalid_request, blob_lost, non_finite and model_retired.
/// </param>
/// <param name="Message">Description of the failure, in a sentence.</param>
internal sealed record FailureResponse(string Code, string Message)
{
    public static FailureResponse? Of(GenerationError error, string? message) =>
        error == GenerationError.None
            ? null
            : new FailureResponse(ApiJson.NameOf(error), message ?? "The generation failed.");
}

/// <summary>How much of a prompt the text encoder uses, in tokens.</summary>
/// <param name="Given">Number of tokens of the whole prompt.</param>
/// <param name="Used">Number of tokens that the text encoder uses, from the start; the rest have no effect.</param>
/// <param name="CutAt">Beginning of the text that was cut off, in lower case; null if nothing was cut off.</param>
internal sealed record TokenCountResponse(int Given, int Used, string? CutAt)
{
    public static TokenCountResponse? Of(PromptTokens? tokens) =>
        tokens is null ? null : new TokenCountResponse(tokens.Given, tokens.Used, tokens.CutAt);
}

/// <summary>A generation.</summary>
internal sealed record GenerationResponse
{
    /// <summary>Id of the generation.</summary>
    public required string Id { get; init; }

    /// <summary>The session that the generation belongs to, if any.</summary>
    public required string? Session { get; init; }

    /// <summary>
    /// Phase of the generation: queued_encode, encoding, queued_denoise, denoising, queued_decode, decoding, done,
    /// failed or cancelled.
    /// </summary>
    public required string Phase { get; init; }

    /// <summary>Number of steps done.</summary>
    public required int Step { get; init; }

    /// <summary>Total number of steps.</summary>
    public required int Steps { get; init; }

    /// <summary>While the generation waits, the number of this tenant's work items that are ahead of it.</summary>
    public required int? Position { get; init; }

    /// <summary>
    /// While the generation waits, the estimated seconds until work on it starts; null if there is no estimate.
    /// </summary>
    public required double? WaitSeconds { get; init; }

    /// <summary>
    /// While the generation waits, the seconds for which a worker has been loading its model; null if no worker is.
    /// </summary>
    public required double? LoadingSeconds { get; init; }

    /// <summary>What the picture should show.</summary>
    public required string Prompt { get; init; }

    /// <summary>What guidance steers the picture away from.</summary>
    public required string NegativePrompt { get; init; }

    /// <summary>How much of the prompt the text encoder uses; null until the prompt is encoded.</summary>
    public required TokenCountResponse? PromptTokens { get; init; }

    /// <summary>
    /// How much of the negative prompt is used; null also if there is no negative prompt, or guidance is 1.
    /// </summary>
    public required TokenCountResponse? NegativePromptTokens { get; init; }

    /// <summary>The model's digest.</summary>
    public required string Model { get; init; }

    /// <summary>The seed. JavaScript's numbers may not hold it exactly: see seed_text.</summary>
    public required ulong Seed { get; init; }

    /// <summary>The seed as decimal text.</summary>
    public required string SeedText { get; init; }

    /// <summary>Classifier-free guidance scale.</summary>
    public required double Guidance { get; init; }

    /// <summary>Width and height.</summary>
    public required string Size { get; init; }

    /// <summary>The generation that this one varies, if any.</summary>
    public required string? VariationOf { get; init; }

    /// <summary>Path of the picture; null until the generation is done.</summary>
    public required string? Picture { get; init; }

    /// <summary>Why the generation failed; null if it has not failed.</summary>
    public required FailureResponse? Error { get; init; }

    /// <summary>When the generation was accepted.</summary>
    public required DateTimeOffset AcceptedAt { get; init; }

    /// <summary>When the generation ended; null if it has not ended.</summary>
    public required DateTimeOffset? EndedAt { get; init; }

    /// <summary>Number of restarts at step 0, each because no device of the same kind was left.</summary>
    public required int Restarts { get; init; }

    /// <summary>Kind of the device that denoised the steps; null before the first step.</summary>
    public required string? DeviceKind { get; init; }

    public static GenerationResponse Of(GenerationView view)
    {
        GenerationSpec spec = view.Submission.Spec;
        return new GenerationResponse
        {
            Id = view.Key.Id.Value,
            Session = view.Submission.Session?.Value,
            Phase = ApiJson.NameOf(view.Phase),
            Step = view.Step,
            Steps = spec.Steps,
            Position = view.Place?.Position,
            WaitSeconds = SecondsOf(view.Place?.Wait),
            LoadingSeconds = SecondsOf(view.Place?.Loading),
            Prompt = spec.Prompt,
            NegativePrompt = spec.Negative,
            PromptTokens = TokenCountResponse.Of(view.Encoded?.Prompt),
            NegativePromptTokens = TokenCountResponse.Of(view.Encoded?.Negative),
            Model = spec.Model.Value,
            Seed = spec.Seed,
            SeedText = spec.Seed.ToString(CultureInfo.InvariantCulture),
            Guidance = spec.Guidance,
            Size = new PictureSize(spec.Width, spec.Height).ToString(),
            VariationOf = view.Submission.VariationOf?.Value,
            Picture = view.Picture is null ? null : Paths.Picture(view.Key.Id),
            Error = FailureResponse.Of(view.Error, view.Message),
            AcceptedAt = view.AcceptedAt,
            EndedAt = view.EndedAt,
            Restarts = view.Restarts,
            DeviceKind = view.DeviceKind,
        };
    }

    public static double? SecondsOf(TimeSpan? time) => time is { } one ? Math.Round(one.TotalSeconds, 1) : null;
}

/// <summary>An event of a generation.</summary>
/// <param name="Phase">The phase that was entered, or in which a step was done.</param>
/// <param name="Step">Number of steps done.</param>
/// <param name="Steps">Total number of steps.</param>
/// <param name="Preview">Path of the preview at this step, if one was requested.</param>
/// <param name="PreviewIndex">Index of the preview, from 0.</param>
/// <param name="Picture">Path of the picture, once the generation is done.</param>
/// <param name="Error">Why the generation failed, if it did.</param>
/// <param name="Position">
/// In events without an id, which are sent while the generation waits: the number of this tenant's work items that are
/// ahead of it.
/// </param>
/// <param name="WaitSeconds">In these events, the estimated seconds until work on it starts, if there is one.</param>
/// <param name="LoadingSeconds">
/// In these events, the seconds for which a worker has been loading the model; null if no worker is.
/// </param>
internal sealed record GenerationEventResponse(
    string Phase, int Step, int Steps, string? Preview, int? PreviewIndex, string? Picture, FailureResponse? Error,
    int? Position = null, double? WaitSeconds = null, double? LoadingSeconds = null)
{
    public static GenerationEventResponse Of(GenerationId id, GenerationEvent one) => new(
        ApiJson.NameOf(one.Phase), one.Step, one.Steps,
        one.Preview is null ? null : Paths.Preview(id, one.PreviewIndex), one.Preview is null ? null : one.PreviewIndex,
        one.Picture is null ? null : Paths.Picture(id), FailureResponse.Of(one.Error, one.Message));

    public static GenerationEventResponse Waiting(GenerationPhase phase, int steps, QueuePlace place) => new(
        ApiJson.NameOf(phase), 0, steps, null, null, null, null, place.Position,
        GenerationResponse.SecondsOf(place.Wait), GenerationResponse.SecondsOf(place.Loading));
}

// POST /v1/images/generations as OpenAI's clients know it: one JSON answer, or a stream of real previews and pictures.
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text.Json.Serialization;
using Atelier.Contracts;

namespace Atelier.Silo.Api;

/// <summary>The answer to a request for images.</summary>
/// <param name="Created">When it was made, in seconds since 1970.</param>
/// <param name="Background">Always "opaque".</param>
/// <param name="OutputFormat">png, jpeg or webp.</param>
/// <param name="Size">Width and height.</param>
/// <param name="Quality">low, medium or high.</param>
/// <param name="Data">The images.</param>
/// <param name="Usage">What they took.</param>
/// <param name="PromptTokens">How much of the prompt the text encoder takes.</param>
/// <param name="NegativePromptTokens">
/// The same of the negative prompt; null where there is none, or guidance is 1.
/// </param>
internal sealed record ImagesShape(
    long Created, string Background, string OutputFormat, string Size, string Quality, ImageShape[] Data,
    UsageShape Usage, TokensShape? PromptTokens, TokensShape? NegativePromptTokens);

/// <summary>An image.</summary>
internal sealed record ImageShape
{
    /// <summary>The file in base64.</summary>
    [JsonPropertyName("b64_json"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public byte[]? Base64 { get; init; }

    /// <summary>A link to the file that is good for 60 minutes and needs no key.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Url { get; init; }

    /// <summary>Id of its generation.</summary>
    public required string Id { get; init; }

    /// <summary>Its seed.</summary>
    public required ulong Seed { get; init; }
}

/// <summary>
/// What images took. Input is counted in tokens of both prompts that the text encoder took, for each image; output in
/// evaluations of the network, which are what a tenant's daily limit counts.
/// </summary>
/// <param name="TotalTokens">Input and output.</param>
/// <param name="InputTokens">Tokens of the prompts.</param>
/// <param name="OutputTokens">Evaluations.</param>
/// <param name="InputTokensDetails">Input by kind.</param>
internal sealed record UsageShape(
    long TotalTokens, long InputTokens, long OutputTokens, UsageDetailsShape InputTokensDetails)
{
    public static UsageShape Of(GenerationSpec spec, EncodedPrompts? encoded, int images)
    {
        long input = (long)images * ((encoded?.Prompt.Used ?? 0) + (encoded?.Negative?.Used ?? 0));
        long output = (long)images * spec.Evaluations;
        return new UsageShape(input + output, input, output, new UsageDetailsShape(input, 0));
    }
}

/// <summary>Input by kind.</summary>
/// <param name="TextTokens">Tokens of the prompts.</param>
/// <param name="ImageTokens">Always 0.</param>
internal sealed record UsageDetailsShape(long TextTokens, long ImageTokens);

/// <summary>An event of a stream of images.</summary>
internal sealed record ImageEventShape
{
    /// <summary>The event's name.</summary>
    public required string Type { get; init; }

    /// <summary>The preview or the picture in base64.</summary>
    [JsonPropertyName("b64_json")]
    public required byte[] Base64 { get; init; }

    /// <summary>When the event was made, in seconds since 1970.</summary>
    public required long CreatedAt { get; init; }

    /// <summary>Width and height.</summary>
    public required string Size { get; init; }

    /// <summary>low, medium or high.</summary>
    public required string Quality { get; init; }

    /// <summary>Always "opaque".</summary>
    public string Background { get; init; } = "opaque";

    /// <summary>png, jpeg or webp.</summary>
    public required string OutputFormat { get; init; }

    /// <summary>Which preview it is, from 0.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? PartialImageIndex { get; init; }

    /// <summary>Which image it is of, from 0, where there are several.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? ImageIndex { get; init; }

    /// <summary>What the image took, once it is there.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public UsageShape? Usage { get; init; }

    /// <summary>How much of the prompt the text encoder takes, once the image is there.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TokensShape? PromptTokens { get; init; }

    /// <summary>The same of the negative prompt, where there is one.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TokensShape? NegativePromptTokens { get; init; }
}

/// <summary>Answers requests for images.</summary>
internal sealed class ImagesEndpoint(
    Models models, ImagesRuns runs, PictureReader pictures, ServerSentEvents sse, Tickets tickets, TimeProvider clock,
    IHostApplicationLifetime lifetime)
{
    private const string RetryCount = "X-Stainless-Retry-Count";
    private const string Partial = "image_generation.partial_image";
    private const string Completed = "image_generation.completed";

    public static void Map(IEndpointRouteBuilder routes) => routes
        .MapPost("/images/generations", (HttpContext context, ImagesEndpoint endpoint) =>
            endpoint.GenerateAsync(context))
        .WithTags("Images").For(Audience.Tenants)
        .WithSummary("Draws images, as OpenAI's clients ask for them.")
        .WithDescription(
            "With stream: true the answer is server-sent events, image_generation.partial_image and "
            + "image_generation.completed; with n above 1 each carries image_index. A request that is sent again with "
            + "X-Stainless-Retry-Count above 0 and an equal body joins the first one. When the last client that waits "
            + "disconnects, the images are cancelled unless on_disconnect is keep.")
        .Accepts<ImagesBody>("application/json")
        .Produces<ImagesShape>().Produces<ErrorBody>(400).Produces<ErrorBody>(404).Produces<ErrorBody>(429)
        .Produces<ErrorBody>(503);

    private async Task<IResult> GenerateAsync(HttpContext context)
    {
        TenantId tenant = context.Tenant();
        byte[] body = await RequestBody.ReadAsync(context.Request, context.RequestAborted);
        ImagesRequest request = ImagesRequest.Parse(body);
        var run = new ImagesRun
        {
            Tenant = tenant,
            Request = request,
            Model = await models.FindAsync(request.Drawing.Model),
            Digest = Convert.ToHexStringLower(SHA256.HashData(body)),
        };
        await runs.BeginAsync(run, IsAgain(context.Request));
        return request.Stream ? await StreamAsync(context, run) : await AnswerAsync(context, run);
    }

    private async Task<IResult> AnswerAsync(HttpContext context, ImagesRun run)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(
            context.RequestAborted, lifetime.ApplicationStopping);
        try
        {
            var files = new BlobName?[run.Request.Images];
            await foreach (ImageEvent one in runs.ProgressAsync(run, ending.Token))
            {
                if (one.Event is { IsLast: true, Picture: null } end)
                {
                    await runs.CancelAsync(run);
                    return ApiError.Of(end);
                }

                files[one.Image] = one.Event.Picture;
            }

            return files.Contains(null)
                ? Deleted
                : TypedResults.Ok(await ShapeAsync(context.Request, run, files, ending.Token));
        }
        catch (OperationCanceledException) when (lifetime.ApplicationStopping.IsCancellationRequested)
        {
            return ApiError.Stopping;
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            await LeaveAsync(run);
            return TypedResults.Empty;
        }
    }

    private async Task<IResult> StreamAsync(HttpContext context, ImagesRun run)
    {
        StreamEnd end = await sse.WriteAsync(
            context, cancellation => EventsAsync(run, cancellation), ApiError.Stopping);
        if (end == StreamEnd.Disconnected)
        {
            await LeaveAsync(run);
        }

        return TypedResults.Empty;
    }

    private Task LeaveAsync(ImagesRun run) =>
        run.Request.CancelOnDisconnect ? runs.LeaveAsync(run) : Task.CompletedTask;

    private async IAsyncEnumerable<ServerSentEvent> EventsAsync(
        ImagesRun run, [EnumeratorCancellation] CancellationToken cancellation)
    {
        int completed = 0;
        await foreach (ImageEvent one in runs.ProgressAsync(run, cancellation))
        {
            GenerationEvent happened = one.Event;
            if (happened is { IsLast: true, Picture: null })
            {
                await runs.CancelAsync(run);
                throw new ApiException(ApiError.Of(happened));
            }

            if (happened.Picture is { } picture)
            {
                completed++;
                ImageEventShape shape = await EventShapeAsync(run, one.Image, Completed, picture, cancellation);
                EncodedPrompts? encoded = await runs.EncodedAsync(run, one.Image);
                yield return new ServerSentEvent(Completed, null, shape with
                {
                    Usage = UsageShape.Of(run.Specs[one.Image], encoded, 1),
                    PromptTokens = TokensShape.Of(encoded?.Prompt),
                    NegativePromptTokens = TokensShape.Of(encoded?.Negative),
                });
            }
            else if (happened.Preview is { } preview)
            {
                ImageEventShape shape = await EventShapeAsync(run, one.Image, Partial, preview, cancellation);
                yield return new ServerSentEvent(
                    Partial, null, shape with { PartialImageIndex = happened.PreviewIndex });
            }
        }

        if (completed < run.Request.Images)
        {
            throw new ApiException(Deleted);
        }
    }

    private async Task<ImageEventShape> EventShapeAsync(
        ImagesRun run, int image, string type, BlobName file, CancellationToken cancellation) => new()
        {
            Type = type,
            Base64 = await ReadAsync(file, run.Request.Format, cancellation),
            CreatedAt = clock.GetUtcNow().ToUnixTimeSeconds(),
            Size = SizeOf(run),
            Quality = run.Request.Quality,
            OutputFormat = run.Request.Format.Name,
            ImageIndex = run.Request.Images > 1 ? image : null,
        };

    private async Task<ImagesShape> ShapeAsync(
        HttpRequest request, ImagesRun run, BlobName?[] files, CancellationToken cancellation)
    {
        var data = new ImageShape[files.Length];
        for (int i = 0; i < data.Length; i++)
        {
            PictureFormat format = run.Request.Format;
            var shape = new ImageShape { Id = run.Keys[i].Id.Value, Seed = run.Specs[i].Seed };
            data[i] = run.Request.AsLinks
                ? shape with { Url = OriginOf(request) + Paths.Link(tickets.Link(run.Keys[i], format.ToString())) }
                : shape with { Base64 = await ReadAsync(files[i]!.Value, format, cancellation) };
        }

        EncodedPrompts? encoded = await runs.EncodedAsync(run, image: 0);
        return new ImagesShape(
            clock.GetUtcNow().ToUnixTimeSeconds(), "opaque", run.Request.Format.Name, SizeOf(run),
            run.Request.Quality, data, UsageShape.Of(run.Specs[0], encoded, data.Length),
            TokensShape.Of(encoded?.Prompt), TokensShape.Of(encoded?.Negative));
    }

    private async Task<byte[]> ReadAsync(BlobName file, PictureFormat format, CancellationToken cancellation) =>
        await pictures.ReadAsync(file, format, cancellation) ?? throw new ApiException(Lost);

    private static ApiError Deleted { get; } = ApiError.Of(
        new GenerationEvent { Number = EventNumber.Before, Phase = GenerationPhase.Cancelled });

    private static ApiError Lost { get; } =
        new(500, ApiError.Server, "blob_lost", "The picture was drawn, but its file is gone.") { ShouldRetry = false };

    private static string SizeOf(ImagesRun run) => new PictureSize(run.Specs[0].Width, run.Specs[0].Height).ToString();

    private static bool IsAgain(HttpRequest request) =>
        int.TryParse(request.Headers[RetryCount], System.Globalization.NumberStyles.None, null, out int count)
            && count > 0;

    // Links lead where the client came in: the gateway says where that was.
    private static string OriginOf(HttpRequest request)
    {
        string scheme = request.Headers["X-Forwarded-Proto"] == "https" ? "https" : request.Scheme;
        string? host = request.Headers["X-Forwarded-Host"];
        return Uri.TryCreate($"{scheme}://{host}", UriKind.Absolute, out Uri? outside) && !string.IsNullOrEmpty(host)
            ? outside.GetLeftPart(UriPartial.Authority)
            : $"{request.Scheme}://{request.Host}";
    }
}

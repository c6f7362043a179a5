// POST /v1/images/generations, compatible with OpenAI's clients: one JSON response, or a stream of previews and
// pictures.
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Tenants;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Models;
using Atelier.Silo.Api.Pictures;

namespace Atelier.Silo.Api.Images;

/// <summary>Handler of /v1/images/generations.</summary>
internal sealed class ImagesEndpoint(
    ModelResolver models, ImagesRuns runs, AbandonedGenerations abandoned, PictureReader pictures, ServerSentEvents sse,
    Tickets tickets, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    private const string RetryCount = "X-Stainless-Retry-Count";
    private const string Partial = "image_generation.partial_image";
    private const string Completed = "image_generation.completed";

    public static void Map(IEndpointRouteBuilder routes) => routes
        .MapPost("/images/generations", (HttpContext context, ImagesEndpoint endpoint) =>
            endpoint.GenerateAsync(context))
        .WithTags("Images").For(Audience.Tenants)
        .WithName("createImage")
        .WithSummary("Draws images; compatible with OpenAI's clients.")
        .WithDescription(
            "If stream is true, the response is a stream of server-sent events, image_generation.partial_image and "
            + "image_generation.completed; if n is above 1, each event has an image_index. A retry with "
            + "X-Stainless-Retry-Count above 0 and an identical body joins the first request. When the last waiting "
            + "client disconnects, the images are cancelled unless on_disconnect is keep.")
        .Accepts<CreateImagesRequest>("application/json")
        .Produces<ImagesResponse>().Refuses(400, 404, 429, 503);

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
        await runs.BeginAsync(run, IsRetry(context.Request));
        return request.Stream ? await StreamAsync(context, run) : await AnswerAsync(context, run);
    }

    private async Task<IResult> AnswerAsync(HttpContext context, ImagesRun run)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(
            context.RequestAborted, lifetime.ApplicationStopping);
        try
        {
            var files = new BlobName?[run.Request.Images];
            GenerationEvent? failed = null;
            await foreach (ImageEvent one in runs.ProgressAsync(run, ending.Token))
            {
                if (one.Event is { IsLast: true, Picture: null })
                {
                    failed = one.Event;
                    break;
                }

                files[one.Image] = one.Event.Picture;
            }

            if (failed is not null)
            {
                await runs.LeaveAsync(run);
                return ApiError.Of(failed);
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
        run.Request.CancelOnDisconnect ? abandoned.CancelAsync(run.Keys) : Task.CompletedTask;

    private async IAsyncEnumerable<ServerSentEvent> EventsAsync(
        ImagesRun run, [EnumeratorCancellation] CancellationToken cancellation)
    {
        int completed = 0;
        GenerationEvent? failed = null;
        await foreach (ImageEvent one in runs.ProgressAsync(run, cancellation))
        {
            GenerationEvent happened = one.Event;
            if (happened is { IsLast: true, Picture: null })
            {
                failed = happened;
                break;
            }

            if (happened.Picture is { } picture)
            {
                completed++;
                ImageEventResponse shape = await EventShapeAsync(run, one.Image, Completed, picture, cancellation);
                EncodedPrompts? encoded = await runs.EncodedAsync(run, one.Image);
                yield return new ServerSentEvent(Completed, null, shape with
                {
                    Usage = UsageResponse.Of(run.Specs[one.Image], encoded, 1),
                    PromptTokens = TokenCountResponse.Of(encoded?.Prompt),
                    NegativePromptTokens = TokenCountResponse.Of(encoded?.Negative),
                });
            }
            else if (happened.Preview is { } preview)
            {
                ImageEventResponse shape = await EventShapeAsync(run, one.Image, Partial, preview, cancellation);
                yield return new ServerSentEvent(
                    Partial, null, shape with { PartialImageIndex = happened.PreviewIndex });
            }
        }

        if (failed is not null)
        {
            await runs.LeaveAsync(run);
            throw new ApiException(ApiError.Of(failed));
        }

        if (completed < run.Request.Images)
        {
            throw new ApiException(Deleted);
        }
    }

    private async Task<ImageEventResponse> EventShapeAsync(
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

    private async Task<ImagesResponse> ShapeAsync(
        HttpRequest request, ImagesRun run, BlobName?[] files, CancellationToken cancellation)
    {
        var data = new ImageResponse[files.Length];
        for (int i = 0; i < data.Length; i++)
        {
            PictureFormat format = run.Request.Format;
            var shape = new ImageResponse { Id = run.Keys[i].Id.Value, Seed = run.Specs[i].Seed };
            data[i] = run.Request.AsLinks
                ? shape with { Url = OriginOf(request) + Paths.Link(tickets.Link(run.Keys[i], format.ToString())) }
                : shape with { Base64 = await ReadAsync(files[i]!.Value, format, cancellation) };
        }

        EncodedPrompts? encoded = await runs.EncodedAsync(run, image: 0);
        return new ImagesResponse(
            clock.GetUtcNow().ToUnixTimeSeconds(), "opaque", run.Request.Format.Name, SizeOf(run),
            run.Request.Quality, data, UsageResponse.Of(run.Specs[0], encoded, data.Length),
            TokenCountResponse.Of(encoded?.Prompt), TokenCountResponse.Of(encoded?.Negative));
    }

    private async Task<byte[]> ReadAsync(BlobName file, PictureFormat format, CancellationToken cancellation) =>
        await pictures.ReadAsync(file, format, cancellation) ?? throw new ApiException(BlobLost);

    private static ApiError Deleted { get; } = ApiError.Of(
        new GenerationEvent { Number = EventNumber.Before, Phase = GenerationPhase.Cancelled });

    private static ApiError BlobLost { get; } =
        new(500, ApiError.Server, "blob_lost", "The picture was drawn, but its file no longer exists.")
        { ShouldRetry = false };

    private static string SizeOf(ImagesRun run) => new PictureSize(run.Specs[0].Width, run.Specs[0].Height).ToString();

    private static bool IsRetry(HttpRequest request) =>
        int.TryParse(request.Headers[RetryCount], System.Globalization.NumberStyles.None, null, out int count)
            && count > 0;

    // Links begin with the origin that the client used, which the gateway forwards.
    private static string OriginOf(HttpRequest request)
    {
        string scheme = request.Headers["X-Forwarded-Proto"] == "https" ? "https" : request.Scheme;
        string? host = request.Headers["X-Forwarded-Host"];
        return Uri.TryCreate($"{scheme}://{host}", UriKind.Absolute, out Uri? outside) && !string.IsNullOrEmpty(host)
            ? outside.GetLeftPart(UriPartial.Authority)
            : $"{request.Scheme}://{request.Host}";
    }
}

// Routes for the files of pictures and previews: by id for their tenant, and by signed link for anyone.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Tenants;
using Atelier.Grains;
using Atelier.Grains.Generations;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Microsoft.Net.Http.Headers;

namespace Atelier.Silo.Api.Pictures;

/// <summary>Handlers of pictures and previews.</summary>
internal sealed class PictureEndpoints(
    IGrainFactory grains, GrainCaller calls, GenerationWatch watch, PictureReader pictures, Tickets tickets,
    TimeProvider clock)
{
    private const string Forever = "private, max-age=31536000, immutable";

    private static readonly TimeSpan s_previewTimeout = TimeSpan.FromSeconds(4);

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("").WithTags("Pictures");
        group.MapGet("/generations/{id}/picture", (HttpContext context, string id, PictureEndpoints endpoints) =>
                endpoints.PictureAsync(context, id))
            .For(Audience.Tenants)
            .WithName("retrievePicture")
            .WithSummary("Returns the picture of a generation that is done, as a PNG file.")
            .Produces(200, contentType: "image/png").Refuses(404);
        group.MapGet(
            "/generations/{id}/previews/{index}", (
                HttpContext context, string id, string index, PictureEndpoints endpoints) =>
                endpoints.PreviewAsync(context, id, index))
            .For(Audience.Tenants)
            .WithName("retrievePreview")
            .WithSummary("Returns a preview of a generation, as a PNG file; the first has index 0.")
            .Produces(200, contentType: "image/png").Refuses(404);
        group.MapGet("/pictures/{token}", (HttpContext context, string token, PictureEndpoints endpoints) =>
                endpoints.LinkAsync(context, token))
            .For(Audience.Holders)
            .WithName("retrieveLinkedPicture")
            .WithSummary("Returns the picture of a signed link. A link needs no key and is valid for 60 minutes.")
            .Produces(200, contentType: "image/png").Refuses(404);
    }

    private async Task<IResult> PictureAsync(HttpContext context, string idText)
    {
        if (!GenerationId.TryParse(idText, out GenerationId id))
        {
            return ApiError.NotFound("generation");
        }

        IGenerationGrain generation = grains.Generation(new GenerationKey(context.Tenant(), id));
        GenerationView? view = await calls.CallAsync(() => generation.ViewAsync());
        return view switch
        {
            null => ApiError.NotFound("generation"),
            { Picture: null } => ApiError.NotFound($"picture: the generation is {ApiJson.NameOf(view.Phase)}"),
            { Picture: { } picture } => await FileAsync(context, picture, PictureFormat.Png, Forever),
        };
    }

    private async Task<IResult> PreviewAsync(HttpContext context, string idText, string indexText)
    {
        if (!GenerationId.TryParse(idText, out GenerationId id))
        {
            return ApiError.NotFound("generation");
        }

        var key = new GenerationKey(context.Tenant(), id);
        GenerationView? view = await calls.CallAsync(() => grains.Generation(key).ViewAsync());
        if (view is null)
        {
            return ApiError.NotFound("generation");
        }

        int[] steps = GenerationEvents.PreviewSteps(view.Submission);
        int index = indexText.Length == 1 ? indexText[0] - '0' : -1;
        return index >= 0 && index < steps.Length && steps[index] <= view.Step
            && await PreviewOfAsync(key, steps[index], context.RequestAborted) is { } preview
            ? await FileAsync(context, preview, PictureFormat.Png, Forever)
            : ApiError.NotFound("preview, or it does not exist yet");
    }

    private async Task<IResult> LinkAsync(HttpContext context, string token)
    {
        if (!tickets.TryReadLink(token, out GenerationKey key, out string formatText)
            || !PictureFormat.TryParse(formatText, out PictureFormat format))
        {
            return new ApiError(
                404, ApiError.InvalidRequest, "link_expired", "This link has expired or is not valid.");
        }

        if (await calls.CallAsync(() => grains.Tenant(key.Tenant).IsClosedAsync()))
        {
            return ApiError.NotFound("picture; it may have been deleted");
        }

        GenerationView? view = await calls.CallAsync(() => grains.Generation(key).ViewAsync());
        return view?.Picture is { } picture
            ? await FileAsync(context, picture, format, $"private, max-age={(int)Tickets.LinkLife.TotalSeconds}")
            : ApiError.NotFound("picture; it may have been deleted");
    }

    // The event of the step carries the preview. A generation that has just restarted may not have it yet.
    private async Task<BlobName?> PreviewOfAsync(GenerationKey key, int step, CancellationToken gone)
    {
        using var timeout = new CancellationTokenSource(s_previewTimeout, clock);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(gone, timeout.Token);
        var before = EventNumber.Of(GenerationPhase.Denoising, step - 1);
        try
        {
            await foreach (GenerationEvent one in watch.WatchAsync(key, before, ending.Token))
            {
                return one.Preview;
            }
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested)
        {
            // The preview does not exist yet.
        }

        return null;
    }

    // A file never changes under its name, so clients may cache it.
    private async Task<IResult> FileAsync(HttpContext context, BlobName name, PictureFormat format, string caching)
    {
        byte[]? bytes = await pictures.ReadAsync(name, format, context.RequestAborted);
        if (bytes is null)
        {
            return ApiError.NotFound("picture: its file no longer exists");
        }

        context.Response.Headers.CacheControl = caching;
        context.Response.Headers.XContentTypeOptions = "nosniff";
        return TypedResults.Bytes(
            bytes, format.MediaType, entityTag: new EntityTagHeaderValue($"\"{name.Sha256}-{format}\""));
    }
}

// The outermost middleware: gives each request an id and turns every failure into an error response.
using Atelier.Contracts;
using Atelier.Grains.Telemetry;

namespace Atelier.Silo.Api.Http;

/// <summary>Assigns request ids and turns failures into responses in OpenAI's error format.</summary>
internal sealed class ApiMiddleware(RequestDelegate next, ILogger<ApiMiddleware> logger)
{
    private const string RequestId = "x-request-id";

    public async Task InvokeAsync(HttpContext context)
    {
        string? given = context.Request.Headers[RequestId];
        context.TraceIdentifier = Names.AreValid(given) ? given : NewIds.Request();
        context.Response.Headers[RequestId] = context.TraceIdentifier;
        GenerationActivities.Propagate();
        try
        {
            await next(context);
            HttpResponse response = context.Response;
            if (!response.HasStarted
                && response.StatusCode >= 400
                && response.ContentType is null
                && response.ContentLength is null)
            {
                await ApiError.Of(response.StatusCode, context.Request).ExecuteAsync(context);
            }
        }
        catch (Exception error) when (context.RequestAborted.IsCancellationRequested
            && error is OperationCanceledException or IOException or BadHttpRequestException)
        {
            // The client has disconnected, so there is nobody to respond to.
        }
        catch (ApiException error)
        {
            await AnswerAsync(context, error.Error);
        }
        catch (BadHttpRequestException error)
        {
            await AnswerAsync(context, ApiError.Of(error));
        }
        catch (Exception error)
        {
            logger.RequestFailed(error, context.Request.Method, RouteOf(context), context.TraceIdentifier);
            await AnswerAsync(context, ApiError.Internal);
        }
        finally
        {
            string? route = RouteOf(context);
            logger.RequestEnded(context.TraceIdentifier, context.Response.StatusCode, context.Request.Method, route);
        }
    }

    // The template of the path, because the path itself may be a link that needs no key.
    private static string? RouteOf(HttpContext context) =>
        (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText;

    private static Task AnswerAsync(HttpContext context, ApiError error)
    {
        if (context.Response.HasStarted)
        {
            // A partial response must not look complete.
            context.Abort();
            return Task.CompletedTask;
        }

        context.Response.Clear();
        context.Response.Headers[RequestId] = context.TraceIdentifier;
        return error.ExecuteAsync(context);
    }
}

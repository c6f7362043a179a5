// The outermost middleware: gives each request an id, strips headers that only the cluster may set, and turns every
// failure into an error response.
using System.Security.Cryptography;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Telemetry;

namespace Atelier.Gateway.Answers;

/// <summary>Assigns request ids and turns failures into responses in OpenAI's error format.</summary>
internal sealed class AnswersMiddleware(
    RequestDelegate next, GatewayInstruments instruments, RefusalRecord refusals, ILogger<AnswersMiddleware> logger)
{
    /// <summary>The header that carries a request's id, in requests to silos and in responses.</summary>
    public const string RequestId = "x-request-id";

    // The default content security policy of responses: they may load nothing and cannot be framed.
    private const string ContentRules =
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private const string InternalPrefix = "X-Atelier-";

    /// <summary>Creates a random request id.</summary>
    public static string NewId() => $"req_{RandomNumberGenerator.GetHexString(32, lowercase: true)}";

    public async Task InvokeAsync(HttpContext context)
    {
        context.TraceIdentifier = NewId();
        context.Request.Headers[RequestId] = context.TraceIdentifier;
        RemoveInternalHeaders(context.Request.Headers);
        context.Response.OnStarting(static state =>
        {
            var started = (HttpContext)state;
            IHeaderDictionary headers = started.Response.Headers;
            headers[RequestId] = started.TraceIdentifier;
            headers.XContentTypeOptions = "nosniff";
            if (headers.ContentSecurityPolicy.Count == 0)
            {
                headers.ContentSecurityPolicy = ContentRules;
            }

            headers["Referrer-Policy"] = "no-referrer";
            return Task.CompletedTask;
        }, context);
        try
        {
            await next(context);
            if (context.Response is { HasStarted: false, StatusCode: >= 400, ContentType: null })
            {
                // A silo's web server refused the request and sent only a status code.
                await AnswerAsync(context, GatewayError.Of(context.Response.StatusCode));
            }
        }
        catch (BadHttpRequestException error)
        {
            await AnswerAsync(context, GatewayError.Of(error.StatusCode));
        }
        catch (Exception error) when (
            context.RequestAborted.IsCancellationRequested && error is OperationCanceledException or IOException)
        {
            // The client has disconnected, so there is nobody to respond to.
        }
        catch (Exception error)
        {
            logger.RequestFailed(error, context.Request.Method, context.TraceIdentifier);
            await AnswerAsync(context, GatewayError.Internal);
        }
        finally
        {
            Record(context);
        }
    }

    private void Record(HttpContext context)
    {
        GatewayError? error = context.Features.Get<GatewayError>();
        string outcome = error switch
        {
            { Status: >= StatusCodes.Status500InternalServerError } => "failed",
            not null => "refused",
            null when context.RequestAborted.IsCancellationRequested => "aborted",
            null => "answered",
        };
        instruments.Ended(outcome);
        logger.RequestEnded(
            context.TraceIdentifier, context.Request.Method, context.Features.Get<CallerFeature>()?.Caller.Tenant,
            outcome, context.Response.StatusCode);
        if (error is not null)
        {
            refusals.Add(error.Code, context.TraceIdentifier);
        }
    }

    private static void RemoveInternalHeaders(IHeaderDictionary headers)
    {
        bool IsInternal(string name) => name.StartsWith(InternalPrefix, StringComparison.OrdinalIgnoreCase);
        foreach (string name in headers.Keys.Where(IsInternal).ToList())
        {
            headers.Remove(name);
        }
    }

    private static Task AnswerAsync(HttpContext context, GatewayError error)
    {
        if (context.Response.HasStarted)
        {
            // A partial response must not look complete.
            context.Abort();
            return Task.CompletedTask;
        }

        context.Response.Clear();
        return error.WriteAsync(context);
    }
}

// Goes around every request: gives it an id, strips what only the cluster may say, and sees to it that whatever goes
// wrong is answered in the error shape.
using System.Security.Cryptography;

namespace Atelier.Gateway.Answers;

/// <summary>The outermost part of the gateway.</summary>
internal sealed partial class AnswersMiddleware(RequestDelegate next, ILogger<AnswersMiddleware> logger)
{
    /// <summary>The header with a request's id, to silos and in answers.</summary>
    public const string RequestId = "x-request-id";

    // The content security policy of answers that set none of their own: they load nothing and cannot be framed.
    private const string ContentRules =
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private const string InternalPrefix = "X-Atelier-";

    /// <summary>A new id of a request.</summary>
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
                // A silo's server has refused the request by itself.
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
            // Nobody is left to be told.
        }
        catch (Exception error)
        {
            LogFault(error, context.Request.Method, context.TraceIdentifier);
            await AnswerAsync(context, GatewayError.Internal);
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
            // Half an answer must not look like a whole one.
            context.Abort();
            return Task.CompletedTask;
        }

        context.Response.Clear();
        return error.WriteAsync(context);
    }

    [LoggerMessage(
        Level = LogLevel.Error, Message = "A {Method} request failed in the gateway; its request id is {RequestId}.")]
    private partial void LogFault(Exception error, string method, string requestId);
}

// Request bodies in memory. A body is read to its end before the request is forwarded: one that is too large, truncated
// or slow is refused here, and a request that could not be delivered can be sent to another silo. Routes that need no
// key accept no body, because a client that sends one slowly could hold its connection indefinitely.
using Atelier.Gateway.Answers;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Settings;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Gateway.Routing;

/// <summary>Reads the bodies of requests.</summary>
internal static class BufferedBody
{
    /// <summary>The bytes of a buffered body; empty if the request has no body.</summary>
    public static ReadOnlySpan<byte> BytesOf(HttpRequest request) =>
        request.Body is MemoryStream body ? body.GetBuffer().AsSpan(0, (int)body.Length) : [];

    /// <summary>
    /// Reads the body into memory, then continues the pipeline. Refuses a body on a route that needs no key.
    /// </summary>
    public static async Task ReadAsync(HttpContext context, RequestDelegate next)
    {
        HttpRequest request = context.Request;
        if (context.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: false })
        {
            await next(context);
            return;
        }

        if (context.Features.Get<CallerFeature>() is null)
        {
            // Otherwise the server would wait for the rest of the body before it reads the next request.
            context.Response.Headers.Connection = "close";
            await GatewayError.BodyNotAllowed.WriteAsync(context);
            return;
        }

        if (context.Features.Get<CallerFeature>() is { Caller.IsAdmin: true } && Routes.Is(context, Routes.Large)
            && context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = GatewaySettings.DataBytesMax;
        }

        using var body = new MemoryStream();
        try
        {
            await request.Body.CopyToAsync(body, CancellationToken.None);
        }
        catch (IOException error) when (error is not BadHttpRequestException)
        {
            // The server reports some malformed chunks, and a connection that breaks, as a failed read.
            throw new BadHttpRequestException(error.Message, error);
        }

        body.Position = 0;
        Stream wire = request.Body;
        (request.Body, request.ContentLength) = (body, body.Length);
        request.Headers.TransferEncoding = default;
        request.Headers.Expect = default;
        try
        {
            await next(context);
        }
        finally
        {
            request.Body = wire;
        }
    }
}

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
    // A client that is still sending does not read a response. So a body that is a little too large is read to its end
    // and discarded; if it is far too large, the connection is closed.
    private const int DiscardedBytesMax = 8 << 20;

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

        if (context.Features.Get<CallerFeature>() is not { Caller: var caller })
        {
            // Otherwise the server would wait for the rest of the body before it reads the next request.
            context.Response.Headers.Connection = "close";
            await GatewayError.BodyNotAllowed.WriteAsync(context);
            return;
        }

        int bytesMax = caller.IsAdmin && Routes.Is(context, Routes.Large)
            ? GatewaySettings.DataBytesMax
            : GatewaySettings.RequestBytesMax;
        using var body = new MemoryStream();
        if (!await FitsAsync(context, body, bytesMax))
        {
            await GatewayError.BodyTooLarge(bytesMax).WriteAsync(context);
            return;
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

    // Copies the request's body. False: it is larger than the maximum.
    private static async Task<bool> FitsAsync(HttpContext context, MemoryStream body, int bytesMax)
    {
        HttpRequest request = context.Request;
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            // A client that waits for "100 Continue" has not sent anything yet.
            bool waits = request.Headers.Expect.Count > 0;
            limit.MaxRequestBodySize = waits ? bytesMax : bytesMax + DiscardedBytesMax;
        }

        long received = 0;
        byte[] part = new byte[16 * 1024];
        try
        {
            for (int read; (read = await request.Body.ReadAsync(part, CancellationToken.None)) > 0;)
            {
                received += read;
                if (received <= bytesMax)
                {
                    await body.WriteAsync(part.AsMemory(0, read), CancellationToken.None);
                }
            }
        }
        catch (BadHttpRequestException error) when (error.StatusCode == StatusCodes.Status413PayloadTooLarge)
        {
            return false;
        }
        catch (IOException error) when (error is not BadHttpRequestException)
        {
            // The server reports some malformed chunks, and a connection that breaks, as a failed read.
            throw new BadHttpRequestException(error.Message, error);
        }

        return received <= bytesMax;
    }
}

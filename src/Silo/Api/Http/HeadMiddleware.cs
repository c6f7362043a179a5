// HEAD requests. The response is that of GET without its body, implemented once for all GET routes.
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Http;

/// <summary>Runs a HEAD request as GET and sends the headers alone, with the length of the omitted body.</summary>
internal sealed class HeadMiddleware(RequestDelegate next)
{
    public async Task InvokeAsync(HttpContext context)
    {
        if (!HttpMethods.IsHead(context.Request.Method))
        {
            await next(context);
            return;
        }

        var wire = context.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
        using var unsent = new MemoryStream();
        var body = new StreamResponseBodyFeature(unsent);
        context.Features.Set(new HeadFeature());
        context.Features.Set<IHttpResponseBodyFeature>(body);
        context.Request.Method = HttpMethods.Get;
        try
        {
            await next(context);
            await body.CompleteAsync();
        }
        finally
        {
            context.Features.Set(wire);
        }

        if (unsent.Length > 0)
        {
            context.Response.ContentLength ??= unsent.Length;
        }
    }
}

/// <summary>Marks a request that arrived as HEAD.</summary>
internal sealed class HeadFeature;

/// <summary>Access to the method that the client sent.</summary>
internal static class HeadExtensions
{
    /// <summary>Whether the request arrived as HEAD.</summary>
    public static bool IsHead(this HttpContext context) => context.Features.Get<HeadFeature>() is not null;

    /// <summary>The method as the client sent it.</summary>
    public static string MethodAsSent(this HttpContext context) =>
        context.IsHead() ? HttpMethods.Head : context.Request.Method;
}

// The web page: a few embedded files, sent with a content security policy that lets them load nothing from other
// origins.
using System.Security.Cryptography;

namespace Atelier.Gateway.Page;

/// <summary>Serves the page.</summary>
internal static class PageFiles
{
    private const string ContentRules =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        + "form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

    private static readonly (string Route, string File, string Type)[] s_files =
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "style.css", "text/css; charset=utf-8"),
        ("/training", "training.html", "text/html; charset=utf-8"),
        ("/training.js", "training.js", "text/javascript; charset=utf-8"),
    ];

    /// <summary>Maps the page at / and the files that it loads.</summary>
    public static void MapPage(this IEndpointRouteBuilder routes)
    {
        foreach ((string route, string file, string type) in s_files)
        {
            byte[] content = Read(file);
            string tag = $"\"{Convert.ToHexStringLower(SHA256.HashData(content))[..32]}\"";
            routes.MapMethods(
                route, [HttpMethods.Get, HttpMethods.Head], context => SendAsync(context, content, type, tag));
        }
    }

    private static Task SendAsync(HttpContext context, byte[] content, string type, string tag)
    {
        HttpResponse response = context.Response;
        response.Headers.CacheControl = "no-cache";
        response.Headers.ETag = tag;
        response.Headers.ContentSecurityPolicy = ContentRules;
        if (context.Request.Headers.IfNoneMatch == tag)
        {
            response.StatusCode = StatusCodes.Status304NotModified;
            return Task.CompletedTask;
        }

        response.ContentType = type;
        response.ContentLength = content.Length;
        return HttpMethods.IsHead(context.Request.Method)
            ? Task.CompletedTask
            : response.Body.WriteAsync(content, context.RequestAborted).AsTask();
    }

    private static byte[] Read(string file)
    {
        using Stream stream = typeof(PageFiles).Assembly.GetManifestResourceStream($"page/{file}")
            ?? throw new InvalidOperationException($"The page's file {file} is not embedded in this program.");
        using var content = new MemoryStream();
        stream.CopyTo(content);
        return content.ToArray();
    }
}

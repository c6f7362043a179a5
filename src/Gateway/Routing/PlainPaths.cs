// Unambiguous paths. Ids in this API need no escaping, so a path with characters that need it, with dot segments or
// with empty segments is refused before a silo sees it. Only model names, which are free text without dot segments, may
// be escaped and may have empty segments. They are forwarded in one canonical escaping, as a single segment.
using System.Buffers;
using Atelier.Gateway.Answers;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Gateway.Routing;

/// <summary>A path in its canonical escaping.</summary>
/// <param name="Path">The escaped path, as it is forwarded.</param>
internal sealed record EscapedPathFeature(string Path);

/// <summary>Refuses ambiguous paths.</summary>
internal static class PlainPaths
{
    private const string Models = "/v1/models/";

    private static readonly SearchValues<char> s_plain =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@+,=");

    /// <summary>
    /// Passes on requests with plain paths, and requests for a model whose name is escaped in the path.
    /// </summary>
    public static Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (IsPlain(context.Request.Path.Value))
        {
            return next(context);
        }

        // %2F and %252F look alike once decoded, so the raw target is read: it is what the client sent.
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        if (!Routes.Is(context, Routes.FreeText) || Escaped(target.Split('?')[0]) is not { } path)
        {
            return GatewayError.UnknownUrl.WriteAsync(context);
        }

        context.Features.Set(new EscapedPathFeature(path));
        return next(context);
    }

    /// <summary>Whether a path needs no escaping and has no empty or dot segments.</summary>
    public static bool IsPlain(string? path) =>
        path is not null && path.AsSpan().IndexOfAnyExcept(s_plain) < 0 && HasNames(path);

    /// <summary>
    /// Escapes the name in a model's path canonically; null if the path is not a model's, or the name is not valid.
    /// </summary>
    public static string? Escaped(string path)
    {
        if (!path.StartsWith(Models, StringComparison.OrdinalIgnoreCase) || HasDots(path))
        {
            return null;
        }

        string name = Uri.UnescapeDataString(path[Models.Length..]);
        return name.Length > 0 && !HasDots(name) && !name.Any(char.IsControl)
            ? Models + Uri.EscapeDataString(name)
            : null;
    }

    private static bool HasNames(string path) => !path.Contains("//", StringComparison.Ordinal) && !HasDots(path);

    private static bool HasDots(string path) => path.Split('/').Any(name => name is "." or "..");
}

// Paths that mean one thing only. Ids of this API need no escaping, so a path that holds anything else, or that leads
// up or to an empty name, is refused before a silo sees it. Names of models are free text: they alone may be escaped,
// and are forwarded in one canonical escaping.
using System.Buffers;
using Atelier.Gateway.Answers;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Gateway.Routing;

/// <summary>A path in the one escaping in which it is forwarded.</summary>
/// <param name="Path">The path, escaped.</param>
internal sealed record EscapedPathFeature(string Path);

/// <summary>Refuses paths with tricks in them.</summary>
internal static class PlainPaths
{
    private const string Models = "/v1/models/";

    private static readonly SearchValues<char> s_plain =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@+,=");

    /// <summary>Lets plain paths through, and those of models with an escaped name.</summary>
    public static Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (IsPlain(context.Request.Path.Value))
        {
            return next(context);
        }

        // Decoded, %2F and %252F look alike: what the client sent is in the target.
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        if (!Routes.Is(context, Routes.FreeText) || Escaped(target.Split('?')[0]) is not { } path)
        {
            return GatewayError.UnknownUrl.WriteAsync(context);
        }

        context.Features.Set(new EscapedPathFeature(path));
        return next(context);
    }

    /// <summary>Whether a path is plain.</summary>
    public static bool IsPlain(string? path) =>
        path is not null && path.AsSpan().IndexOfAnyExcept(s_plain) < 0 && HasNames(path);

    /// <summary>
    /// The path of a model with its name in the canonical escaping; null if it is not one, or the name is not valid.
    /// </summary>
    public static string? Escaped(string path)
    {
        if (!path.StartsWith(Models, StringComparison.OrdinalIgnoreCase) || !HasNames(path))
        {
            return null;
        }

        string name = Uri.UnescapeDataString(path[Models.Length..]);
        return name.Length > 0 && HasNames(name) && !name.Any(char.IsControl)
            ? Models + Uri.EscapeDataString(name)
            : null;
    }

    private static bool HasNames(string path) =>
        !path.Contains("//", StringComparison.Ordinal) && !path.Split('/').Any(name => name is "." or "..");
}

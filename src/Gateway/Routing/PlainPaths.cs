// Paths that mean one thing only. Ids and names of this API need no escaping, so a path that holds anything else, or
// that leads up or to an empty name, is none of ours; the silo never sees it.
using System.Buffers;
using Atelier.Gateway.Answers;

namespace Atelier.Gateway.Routing;

/// <summary>Refuses paths with tricks in them.</summary>
internal static class PlainPaths
{
    private static readonly SearchValues<char> s_plain =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@+,=");

    /// <summary>Lets plain paths through.</summary>
    public static Task CheckAsync(HttpContext context, RequestDelegate next) =>
        IsPlain(context.Request.Path.Value) ? next(context) : GatewayError.UnknownUrl.WriteAsync(context);

    /// <summary>Whether a path is plain.</summary>
    public static bool IsPlain(string? path) =>
        path is not null && path.AsSpan().IndexOfAnyExcept(s_plain) < 0 && !path.Contains("//", StringComparison.Ordinal)
        && !path.Split('/').Any(segment => segment is "." or "..");
}

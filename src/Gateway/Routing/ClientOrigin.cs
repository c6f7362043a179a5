// The origin that a client addressed, to which links in responses point. The scheme comes from X-Forwarded-Proto, which
// the proxy that terminates TLS sets; host and port come from Host. Other forwarding headers are ignored.
using System.Net;
using Atelier.Gateway.Answers;

namespace Atelier.Gateway.Routing;

/// <summary>Checks and reads the origin of a request.</summary>
internal static class ClientOrigin
{
    /// <summary>The header with the client's scheme.</summary>
    public const string ForwardedProto = "X-Forwarded-Proto";

    /// <summary>Passes on requests with a valid Host; HTTP/1.0 requests may have none.</summary>
    public static Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (!context.Request.Host.HasValue
            && context.Connection is { LocalIpAddress: { } address, LocalPort: var port })
        {
            context.Request.Host = new HostString(new IPEndPoint(address, port).ToString());
        }

        return Uri.TryCreate($"{Uri.UriSchemeHttp}://{context.Request.Host.Value}", UriKind.Absolute, out Uri? origin)
            && origin is { PathAndQuery: "/", UserInfo: "", Port: > 0 }
            ? next(context)
            : GatewayError.WrongHost.WriteAsync(context);
    }

    /// <summary>Whether the client uses HTTPS. After a chain of proxies the first value is the client's.</summary>
    public static bool IsHttps(HttpRequest request) => string.Equals(
        request.Headers[ForwardedProto].ToString().Split(',')[0].Trim(), Uri.UriSchemeHttps,
        StringComparison.OrdinalIgnoreCase);
}

// Headers that the gateway adds for silos: the caller, in a ticket that is valid for exactly this request, and the
// origin that the client addressed.
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Callers;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Transforms;
using Yarp.ReverseProxy.Transforms.Builder;

namespace Atelier.Gateway.Routing;

/// <summary>Transforms requests to silos, and their responses.</summary>
internal sealed class SiloTransforms(Tickets tickets, SiloClocks clocks) : ITransformProvider
{
    private const string EventStream = "text/event-stream";

    public void ValidateRoute(TransformRouteValidationContext context)
    {
    }

    public void ValidateCluster(TransformClusterValidationContext context)
    {
    }

    public void Apply(TransformBuilderContext context)
    {
        context.UseDefaultForwarders = false;
        context.AddXForwarded();

        // Silos do not use cookies, and clients need not know a silo's server software.
        context.AddRequestHeaderRemove("Cookie");
        context.AddResponseHeaderRemove("Server", ResponseCondition.Always);
        context.AddRequestTransform(transform =>
        {
            KeepProto(transform);
            AddTicket(transform);
            return ValueTask.CompletedTask;
        });
        context.AddResponseTransform(transform =>
        {
            clocks.Learn(transform);
            return FlushStreamAsync(transform);
        });
    }

    // The scheme, which links in responses use, is set by the proxy that terminates TLS.
    private static void KeepProto(RequestTransformContext transform)
    {
        if (ClientOrigin.IsHttps(transform.HttpContext.Request))
        {
            transform.ProxyRequest.Headers.Remove(ClientOrigin.ForwardedProto);
            transform.ProxyRequest.Headers.TryAddWithoutValidation(ClientOrigin.ForwardedProto, Uri.UriSchemeHttps);
        }
    }

    // The ticket is signed for the request target exactly as it will be sent.
    private void AddTicket(RequestTransformContext transform)
    {
        HttpRequestMessage request = transform.ProxyRequest;
        request.RequestUri = transform.HttpContext.Features.Get<EscapedPathFeature>() is { } escaped
            ? new Uri(transform.DestinationPrefix.TrimEnd('/') + escaped.Path)
            : RequestUtilities.MakeDestinationAddress(
                transform.DestinationPrefix, transform.Path, transform.Query.QueryString);
        if (transform.HttpContext.Features.Get<CallerFeature>() is { } caller)
        {
            request.Headers.TryAddWithoutValidation(
                Tickets.Header,
                tickets.Sign(
                    caller.Caller, request.Method.Method, request.RequestUri.PathAndQuery,
                    BufferedBody.BytesOf(transform.HttpContext.Request),
                    clocks.Ahead(transform.HttpContext.GetReverseProxyFeature().ProxiedDestination?.DestinationId)));
        }
    }

    // Sends a stream's headers at once, without waiting for its first event.
    private static async ValueTask FlushStreamAsync(ResponseTransformContext transform)
    {
        if (transform.ProxyResponse?.Content.Headers.ContentType?.MediaType == EventStream)
        {
            await transform.HttpContext.Response.Body.FlushAsync(transform.HttpContext.RequestAborted);
        }
    }
}

// Tells the silo who calls, in a ticket that is good for exactly the request that goes out, and where the client thinks
// that it is talking to.
using Atelier.Contracts;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Transforms;
using Yarp.ReverseProxy.Transforms.Builder;

namespace Atelier.Gateway.Keys;

/// <summary>Adds the headers that the gateway has for silos.</summary>
internal sealed class TicketTransform(Tickets tickets) : ITransformProvider
{
    private const string ForwardedProto = "X-Forwarded-Proto";
    private const string Https = "https";

    public void ValidateRoute(TransformRouteValidationContext context)
    {
    }

    public void ValidateCluster(TransformClusterValidationContext context)
    {
    }

    public void Apply(TransformBuilderContext context)
    {
        // Cookies are the page's business; a silo knows none.
        context.AddRequestHeaderRemove("Cookie");
        context.AddRequestTransform(transform =>
        {
            AddTicket(transform);
            return ValueTask.CompletedTask;
        });
    }

    private void AddTicket(RequestTransformContext transform)
    {
        HttpContext context = transform.HttpContext;
        HttpRequestMessage request = transform.ProxyRequest;

        // What is signed is the target as it will stand on the wire.
        request.RequestUri = RequestUtilities.MakeDestinationAddress(
            transform.DestinationPrefix, transform.Path, transform.Query.QueryString);
        if (context.Features.Get<CallerFeature>() is { } caller)
        {
            request.Headers.TryAddWithoutValidation(
                Tickets.Header, tickets.Sign(caller.Caller, request.Method.Method, request.RequestUri.PathAndQuery));
        }

        // Whoever ends TLS before this gateway says so; links in answers follow it.
        if (string.Equals(context.Request.Headers[ForwardedProto], Https, StringComparison.OrdinalIgnoreCase))
        {
            request.Headers.Remove(ForwardedProto);
            request.Headers.TryAddWithoutValidation(ForwardedProto, Https);
        }
    }
}

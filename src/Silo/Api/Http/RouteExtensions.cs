namespace Atelier.Silo.Api.Http;

/// <summary>What the OpenAPI document is told of a route.</summary>
internal static class RouteExtensions
{
    /// <summary>
    /// States with which status codes the route refuses a request, each with an <see cref="ErrorResponse"/>.
    /// </summary>
    public static RouteHandlerBuilder Refuses(this RouteHandlerBuilder route, params ReadOnlySpan<int> statuses)
    {
        foreach (int status in statuses)
        {
            route.Produces<ErrorResponse>(status);
        }

        return route;
    }
}

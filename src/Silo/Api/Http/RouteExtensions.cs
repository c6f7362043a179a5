namespace Atelier.Silo.Api.Http;

/// <summary>Descriptions of routes for the OpenAPI document.</summary>
internal static class RouteExtensions
{
    /// <summary>
    /// Declares the status codes of a route's errors, each with an <see cref="ErrorResponse"/>.
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

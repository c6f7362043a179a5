// The one place where callers are authenticated: a call under /v1 carries a ticket that the gateway has signed for
// exactly this call, or it is refused. Links to pictures carry their own signature.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Http;

/// <summary>The callers that an endpoint admits.</summary>
internal enum Audience
{
    /// <summary>Any caller with a ticket.</summary>
    Everybody,

    /// <summary>Callers with a tenant's key.</summary>
    Tenants,

    /// <summary>Callers with the administrator's key.</summary>
    Administrators,

    /// <summary>Anyone with a signed link; no ticket is needed.</summary>
    Holders,
}

/// <summary>Verifies tickets and admits callers to endpoints.</summary>
internal sealed class TicketMiddleware(RequestDelegate next, Tickets tickets)
{
    public Task InvokeAsync(HttpContext context)
    {
        HttpRequest request = context.Request;
        var audience = context.GetEndpoint()?.Metadata.GetMetadata<AudienceMetadata>();
        if (!request.Path.StartsWithSegments("/v1", StringComparison.OrdinalIgnoreCase)
            || audience?.Audience == Audience.Holders)
        {
            return next(context);
        }

        // The gateway signed the target exactly as it was sent.
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        TicketState state = tickets.Read(
            request.Headers[Tickets.Header], context.MethodAsSent(), target, out Caller caller, out string bodyDigest);
        if (state == TicketState.Stale)
        {
            // The clocks differ: the gateway reads this silo's time from the response and signs a new ticket.
            context.Response.Headers[Tickets.ClockHeader] = tickets.Now.ToString(CultureInfo.InvariantCulture);
        }

        if (state != TicketState.Good)
        {
            return ApiError.NoTicket.ExecuteAsync(context);
        }

        context.Features.Set(new TicketFeature(caller));
        request.Body = new SignedBody(request.Body, bodyDigest);
        return audience?.Audience switch
        {
            Audience.Administrators when !caller.IsAdmin => ApiError.NotAdmin.ExecuteAsync(context),
            Audience.Tenants when caller.Tenant is null => ApiError.NoTenant.ExecuteAsync(context),
            _ => next(context),
        };
    }
}

/// <summary>Marks an endpoint with its audience.</summary>
internal sealed record AudienceMetadata(Audience Audience);

/// <summary>The caller that a request's ticket names.</summary>
internal sealed record TicketFeature(Caller Caller);

/// <summary>Access to the caller for endpoints.</summary>
internal static class CallerExtensions
{
    /// <summary>The calling tenant.</summary>
    /// <exception cref="ApiException">The call's ticket is not a tenant's.</exception>
    public static TenantId Tenant(this HttpContext context) =>
        context.Features.Get<TicketFeature>()?.Caller.Tenant ?? throw new ApiException(ApiError.NoTenant);

    /// <summary>Sets the callers that these endpoints admit.</summary>
    public static TBuilder For<TBuilder>(this TBuilder builder, Audience audience)
        where TBuilder : IEndpointConventionBuilder =>
        builder.WithMetadata(new AudienceMetadata(audience));
}

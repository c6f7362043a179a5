// The one place where callers are told apart: a call under /v1 carries a ticket that the gateway has signed for exactly
// this call, or it goes no further. Links to pictures carry their own signature.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Http;

/// <summary>Who may use an endpoint.</summary>
internal enum Audience
{
    /// <summary>Any caller with a ticket.</summary>
    Everybody,

    /// <summary>Tenants.</summary>
    Tenants,

    /// <summary>Administrators.</summary>
    Administrators,

    /// <summary>Whoever holds a link.</summary>
    Holders,
}

/// <summary>Reads tickets.</summary>
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

        // The target as it came over the wire: what the gateway has signed.
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        TicketState state = tickets.Read(
            request.Headers[Tickets.Header], context.MethodAsSent(), target, out Caller caller, out string bodyDigest);
        if (state == TicketState.Stale)
        {
            // The gateway's clock differs from this one: it learns by how much, and signs again.
            context.Response.Headers[Tickets.ClockHeader] = tickets.Now.ToString(CultureInfo.InvariantCulture);
        }

        if (state != TicketState.Good)
        {
            return ApiError.NoTicket.ExecuteAsync(context);
        }

        context.Features.Set(new CallerFeature(caller));
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

/// <summary>The caller of a request.</summary>
internal sealed record CallerFeature(Caller Caller);

/// <summary>How endpoints ask who calls.</summary>
internal static class CallerExtensions
{
    /// <summary>The tenant that calls. An endpoint that no ticket was read for finds none.</summary>
    public static TenantId Tenant(this HttpContext context) =>
        context.Features.Get<CallerFeature>()?.Caller.Tenant ?? throw new ApiException(ApiError.NoTenant);

    /// <summary>Says who may use these endpoints.</summary>
    public static TBuilder For<TBuilder>(this TBuilder builder, Audience audience)
        where TBuilder : IEndpointConventionBuilder =>
        builder.WithMetadata(new AudienceMetadata(audience));
}

// The bound on each tenant's requests in progress. A stream may hold a connection without limit of time; the bound
// keeps one tenant from holding all connections.
using Atelier.Gateway.Answers;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Limits;

/// <summary>Counts the requests of each tenant that are in progress.</summary>
internal sealed class OpenRequests(GatewaySettings settings)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _open = new(StringComparer.Ordinal);

    /// <summary>Passes a request on if its tenant has fewer than the maximum in progress.</summary>
    public async Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (context.Features.Get<CallerFeature>() is not { } caller)
        {
            await next(context);
            return;
        }

        string tenant = caller.Caller.Tenant?.Value ?? "";
        if (!TryBegin(tenant))
        {
            await GatewayError.TooManyOpen(settings.OpenRequestsPerTenant).WriteAsync(context);
            return;
        }

        try
        {
            await next(context);
        }
        finally
        {
            End(tenant);
        }
    }

    private bool TryBegin(string tenant)
    {
        lock (_lock)
        {
            int open = _open.GetValueOrDefault(tenant);
            if (open >= settings.OpenRequestsPerTenant)
            {
                return false;
            }

            _open[tenant] = open + 1;
            return true;
        }
    }

    private void End(string tenant)
    {
        lock (_lock)
        {
            if (--_open[tenant] == 0)
            {
                _open.Remove(tenant);
            }
        }
    }
}

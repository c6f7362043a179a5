// The bounds on requests in progress. A stream, or a client that reads slowly, may hold a connection indefinitely; the
// bounds keep one tenant, and all clients without a key together, from holding all connections.
using Atelier.Gateway.Answers;
using Atelier.Gateway.Callers;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Limits;

/// <summary>
/// Counts the requests in progress of each tenant, and of the clients without a key, in total and by address.
/// </summary>
internal sealed class OpenRequests(GatewaySettings settings)
{
    // Cannot be the name of a tenant, because tenant names contain no white space.
    private const string Keyless = "without a key";

    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _open = new(StringComparer.Ordinal);

    /// <summary>The number of tenants and addresses that have requests in progress.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _open.Count;
            }
        }
    }

    /// <summary>Passes a request on if fewer than the maximum of its kind are in progress.</summary>
    public async Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        (string Name, int Max)[] counts = CountsOf(context);
        if (!TryBegin(counts))
        {
            GatewayError refusal = context.Features.Get<CallerFeature>() is null
                ? GatewayError.TooManyOpenKeyless
                : GatewayError.TooManyOpen(settings.TenantRequestBound);
            await refusal.WriteAsync(context);
            return;
        }

        try
        {
            await next(context);
        }
        finally
        {
            End(counts);
        }
    }

    // Where addresses distinguish clients, one address may have at most a quarter of the requests that all clients
    // without a key may have together.
    private (string Name, int Max)[] CountsOf(HttpContext context)
    {
        if (context.Features.Get<CallerFeature>() is { } caller)
        {
            return [(caller.Caller.Tenant?.Value ?? "", settings.TenantRequestBound)];
        }

        int bound = settings.KeylessRequestBound;
        return settings.AddressBound > 0
            ? [(Keyless, bound), ($"address {ClientAddress.Of(context.Connection.RemoteIpAddress)}", (bound + 3) / 4)]
            : [(Keyless, bound)];
    }

    private bool TryBegin((string Name, int Max)[] counts)
    {
        lock (_lock)
        {
            if (counts.Any(count => _open.GetValueOrDefault(count.Name) >= count.Max))
            {
                return false;
            }

            foreach ((string name, _) in counts)
            {
                _open[name] = _open.GetValueOrDefault(name) + 1;
            }

            return true;
        }
    }

    private void End((string Name, int Max)[] counts)
    {
        lock (_lock)
        {
            foreach ((string name, _) in counts)
            {
                if (--_open[name] == 0)
                {
                    _open.Remove(name);
                }
            }
        }
    }
}

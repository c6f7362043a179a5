// Delivery of a request to a silo. It is retried on another silo if the first could not be reached, but never after a
// silo may have received it.
using Atelier.Gateway.Answers;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Model;

namespace Atelier.Gateway.Routing;

/// <summary>Proxy middleware that delivers a request to a silo, with retries.</summary>
internal static class Delivery
{
    private const int SilosMax = 3;

    /// <summary>Turns the forwarder's failures into error responses.</summary>
    public static async Task AnswerFailuresAsync(HttpContext context, RequestDelegate next)
    {
        await next(context);
        if (!context.Response.HasStarted && ErrorOf(context.GetForwarderErrorFeature(), context) is { } error)
        {
            context.Response.Clear();
            await error.WriteAsync(context);
        }
    }

    /// <summary>Ends streams when the gateway stops; their clients then reconnect to another gateway.</summary>
    public static async Task EndStreamsAsync(HttpContext context, RequestDelegate next)
    {
        if (!Routes.Is(context, Routes.Resumable))
        {
            await next(context);
            return;
        }

        CancellationToken stopping =
            context.RequestServices.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
        CancellationToken gone = context.RequestAborted;
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(gone, stopping);
        context.RequestAborted = ending.Token;
        try
        {
            await next(context);
        }
        finally
        {
            context.RequestAborted = gone;
        }
    }

    /// <summary>
    /// Tries up to three silos until one may have received the request. A silo that finds the ticket stale, because the
    /// clocks differ, is tried once more.
    /// </summary>
    public static async Task TryEachAsync(HttpContext context, RequestDelegate next)
    {
        IReverseProxyFeature proxy = context.GetReverseProxyFeature();
        IReadOnlyList<DestinationState> left = proxy.AvailableDestinations;
        for (int tried = 1; ; tried++)
        {
            await next(context);
            if (context.Features.Get<StaleTicketFeature>() is { IsSentAgain: false } stale
                && !context.Response.HasStarted)
            {
                // The silo has only checked the ticket; the retry gets a new one, signed with the silo's time.
                stale.IsSentAgain = true;
                PrepareRetry(context, proxy, proxy.ProxiedDestination is { } same ? [same] : left);
                continue;
            }

            if (tried == SilosMax || context.Response.HasStarted || context.RequestAborted.IsCancellationRequested
                || !SiloClientFactory.NeverReached(context.GetForwarderErrorFeature()?.Exception))
            {
                return;
            }

            left = [.. left.Where(silo => silo != proxy.ProxiedDestination)];
            if (left.Count == 0)
            {
                return;
            }

            PrepareRetry(context, proxy, left);
        }
    }

    private static void PrepareRetry(
        HttpContext context, IReverseProxyFeature proxy, IReadOnlyList<DestinationState> silos)
    {
        context.Features.Set<IForwarderErrorFeature>(null);
        context.Response.Clear();
        (proxy.AvailableDestinations, proxy.ProxiedDestination) = (silos, null);
        if (context.Request.Body.CanSeek)
        {
            context.Request.Body.Position = 0;
        }
    }

    private static GatewayError? ErrorOf(IForwarderErrorFeature? failure, HttpContext context) => failure?.Error switch
    {
        null or ForwarderError.None => null,
        _ when context.RequestAborted.IsCancellationRequested => null,
        ForwarderError.NoAvailableDestinations => GatewayError.NoCluster,
        _ when SiloClientFactory.NeverReached(failure.Exception) => GatewayError.NoCluster,

        // The gateway itself ended the stream, because it is shutting down.
        ForwarderError.RequestCanceled => GatewayError.NoCluster,
        ForwarderError.RequestTimedOut or ForwarderError.RequestBodyCanceled => GatewayError.TooLate,
        ForwarderError.RequestCreation => GatewayError.Internal,
        ForwarderError.Request when !SiloClientFactory.IsConnectionFault(failure.Exception) =>
            GatewayError.NotForwarded,
        _ => GatewayError.SiloLost,
    };
}

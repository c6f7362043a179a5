// Responses as server-sent events. Headers are sent at once, comments keep an idle connection open, and a stream always
// ends cleanly: with its last event, with an error, or when the server stops.
using System.Buffers;
using System.Text;
using System.Text.Json;

namespace Atelier.Silo.Api.Http;

/// <summary>An event to send.</summary>
/// <param name="Name">The event's type.</param>
/// <param name="Id">The Last-Event-ID with which a client resumes; null if it cannot resume.</param>
/// <param name="Data">The data, sent as JSON.</param>
internal readonly record struct ServerSentEvent(string Name, string? Id, object Data);

/// <summary>How a stream ended.</summary>
internal enum StreamEnd
{
    /// <summary>All events were sent, or an error in place of the rest.</summary>
    Finished,

    /// <summary>The client disconnected.</summary>
    Disconnected,

    /// <summary>The server is shutting down.</summary>
    Stopping,
}

/// <summary>Writes streams of server-sent events.</summary>
internal sealed class ServerSentEvents(
    TimeProvider clock, IHostApplicationLifetime lifetime, ApiInstruments instruments, ILogger<ServerSentEvents> logger)
{
    /// <summary>The name of an event that carries an error.</summary>
    public const string ErrorEvent = "error";

    /// <summary>Longest time in which nothing is sent, because proxies and clients close idle connections.</summary>
    public static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(15);

    private static readonly byte[] s_comment = ": keep-alive\n\n"u8.ToArray();

    /// <summary>Writes events until they end, the client disconnects or the server stops.</summary>
    /// <param name="context">The request.</param>
    /// <param name="events">Produces the events.</param>
    /// <param name="farewell">Error sent when the server stops; null if the client reconnects by itself.</param>
    public async Task<StreamEnd> WriteAsync(
        HttpContext context, Func<CancellationToken, IAsyncEnumerable<ServerSentEvent>> events,
        ApiError? farewell = null)
    {
        CancellationToken gone = context.RequestAborted, stopping = lifetime.ApplicationStopping;
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(gone, stopping);
        HttpResponse response = context.Response;
        response.ContentType = "text/event-stream";
        response.Headers.CacheControl = "no-cache, no-store";
        response.Headers["X-Accel-Buffering"] = "no";
        if (context.IsHead())
        {
            return StreamEnd.Finished;
        }

        instruments.StreamOpened();
        try
        {
            await response.StartAsync(gone);
            await response.BodyWriter.FlushAsync(gone);
            if (await PumpAsync(response, events, ending.Token) is { } error)
            {
                await WriteEventAsync(response, new ServerSentEvent(ErrorEvent, null, error.Body), gone);
            }

            return StreamEnd.Finished;
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            if (!stopping.IsCancellationRequested)
            {
                return StreamEnd.Disconnected;
            }

            if (farewell is not null && !gone.IsCancellationRequested)
            {
                await WriteEventAsync(
                    response, new ServerSentEvent(ErrorEvent, null, farewell.Body), CancellationToken.None);
            }

            return StreamEnd.Stopping;
        }
        finally
        {
            instruments.StreamClosed();
        }
    }

    // Writes events until they end, with a comment after every KeepAlive of silence. Returns the error that ended them
    // early, or null.
    private async Task<ApiError?> PumpAsync(
        HttpResponse response, Func<CancellationToken, IAsyncEnumerable<ServerSentEvent>> events,
        CancellationToken ending)
    {
        using var leaving = CancellationTokenSource.CreateLinkedTokenSource(ending);
        await using IAsyncEnumerator<ServerSentEvent> each = events(leaving.Token).GetAsyncEnumerator(leaving.Token);
        Task<bool> next = each.MoveNextAsync().AsTask();
        try
        {
            while (true)
            {
                using var enough = CancellationTokenSource.CreateLinkedTokenSource(ending);
                Task first = await Task.WhenAny(next, Task.Delay(KeepAlive, clock, enough.Token));
                await enough.CancelAsync();
                if (first != next && !ending.IsCancellationRequested)
                {
                    await WriteEventAsync(response, null, ending);
                }
                else if (await next)
                {
                    await WriteEventAsync(response, each.Current, ending);
                    next = each.MoveNextAsync().AsTask();
                }
                else
                {
                    return null;
                }
            }
        }
        catch (ApiException error)
        {
            return error.Error;
        }
        catch (Exception error) when (error is not (IOException or OperationCanceledException))
        {
            logger.StreamFailed(error, response.HttpContext.TraceIdentifier);
            return ApiError.Internal;
        }
        finally
        {
            // The enumerator may be disposed only when no MoveNextAsync is pending.
            await leaving.CancelAsync();
            await Task.WhenAny(next);
        }
    }

    private static async Task WriteEventAsync(
        HttpResponse response, ServerSentEvent? one, CancellationToken cancellation)
    {
        IBufferWriter<byte> body = response.BodyWriter;
        if (one is not { } sent)
        {
            body.Write(s_comment);
        }
        else
        {
            Encoding.UTF8.GetBytes((sent.Id is null ? "" : $"id: {sent.Id}\n") + $"event: {sent.Name}\ndata: ", body);
            using (var json = new Utf8JsonWriter(body, new JsonWriterOptions { Encoder = ApiJson.Options.Encoder }))
            {
                JsonSerializer.Serialize(json, sent.Data, sent.Data.GetType(), ApiJson.Options);
            }

            body.Write("\n\n"u8);
        }

        await response.BodyWriter.FlushAsync(cancellation);
    }
}

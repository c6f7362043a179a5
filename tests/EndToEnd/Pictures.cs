// The tests' HTTP calls to a cluster: submit, watch to the end, fetch.
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

/// <summary>An event of a generation, as sent over the wire.</summary>
internal sealed record WireEvent(string Id, string Phase, JsonObject Data);

/// <summary>A patient client: it retries under the same id when no server answers.</summary>
internal static class Pictures
{
    private const int TriesMax = 200;
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Submits under an id chosen by the client, until it is known to be accepted.</summary>
    public static async Task SubmitAsync(
        HttpClient client, string id, string prompt, ulong seed, int steps, int previews = 0)
    {
        HttpStatusCode status = await AgainAsync(async () =>
        {
            using HttpResponseMessage answer = await client.PostAsJsonAsync(
                "/v1/generations", new { id, prompt, seed, steps, guidance = 3.0, previews });
            if (answer.StatusCode is HttpStatusCode.BadRequest)
            {
                Assert.Fail(await answer.Content.ReadAsStringAsync());
            }

            return answer.StatusCode;
        });
        Assert.Equal(HttpStatusCode.Accepted, status);
    }

    /// <summary>A generation, once it has ended.</summary>
    public static async Task<JsonObject> EndAsync(HttpClient client, string id)
    {
        JsonObject? view = null;
        for (int i = 0; i < 10 * TriesMax; i++)
        {
            await AgainAsync(async () =>
            {
                using HttpResponseMessage answer = await client.GetAsync(
                    new Uri($"/v1/generations/{id}", UriKind.Relative));
                view = answer.IsSuccessStatusCode ? await answer.Content.ReadFromJsonAsync<JsonObject>() : view;
                return answer.StatusCode;
            });
            if (view?["phase"]?.GetValue<string>() is "done" or "failed" or "cancelled")
            {
                return view;
            }

            await Task.Delay(s_pause);
        }

        throw new TimeoutException($"{id} did not end: {view}");
    }

    /// <summary>The picture's file.</summary>
    public static async Task<byte[]> FetchAsync(HttpClient client, string id)
    {
        byte[] bytes = [];
        HttpStatusCode status = await AgainAsync(async () =>
        {
            using HttpResponseMessage answer = await client.GetAsync(
                new Uri($"/v1/generations/{id}/picture", UriKind.Relative));
            bytes = answer.IsSuccessStatusCode ? await answer.Content.ReadAsByteArrayAsync() : bytes;
            return answer.StatusCode;
        });
        Assert.Equal(HttpStatusCode.OK, status);
        return bytes;
    }

    /// <summary>Events after a given one, until the stream ends or breaks.</summary>
    public static async Task WatchAsync(HttpClient client, string id, string? after, Func<WireEvent, bool> take)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/generations/{id}/events");
        if (after is not null)
        {
            request.Headers.TryAddWithoutValidation("Last-Event-ID", after);
        }

        try
        {
            using HttpResponseMessage answer = await client.SendAsync(
                request, HttpCompletionOption.ResponseHeadersRead);
            if (!answer.IsSuccessStatusCode)
            {
                return;
            }

            using var lines = new StreamReader(await answer.Content.ReadAsStreamAsync());
            (string? number, string? name) = (null, null);
            while (await lines.ReadLineAsync() is { } line)
            {
                number = line.StartsWith("id: ", StringComparison.Ordinal) ? line[4..] : number;
                name = line.StartsWith("event: ", StringComparison.Ordinal) ? line[7..] : name;
                if (line.StartsWith("data: ", StringComparison.Ordinal))
                {
                    // Events without a number are places in the queue.
                    if (number is not null
                        && !take(new WireEvent(number, name!, JsonNode.Parse(line[6..])!.AsObject())))
                    {
                        return;
                    }

                    (number, name) = (null, null);
                }
            }
        }
        catch (Exception error) when (error is HttpRequestException or IOException)
        {
            // The stream broke; the caller reconnects with the last number.
        }
    }

    private static async Task<HttpStatusCode> AgainAsync(Func<Task<HttpStatusCode>> call)
    {
        HttpStatusCode status = HttpStatusCode.ServiceUnavailable;
        for (int i = 0; i < TriesMax; i++)
        {
            try
            {
                status = await call();
                if (status is not (HttpStatusCode.ServiceUnavailable or HttpStatusCode.BadGateway
                    or HttpStatusCode.GatewayTimeout
                    or HttpStatusCode.TooManyRequests or HttpStatusCode.InternalServerError))
                {
                    return status;
                }
            }
            catch (Exception error) when (error is HttpRequestException or IOException)
            {
                // No server at the moment.
            }

            await Task.Delay(s_pause);
        }

        return status;
    }
}

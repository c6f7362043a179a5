// The command line's client of the cluster's HTTP API. The API's error messages are shown unchanged.
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Contracts.Generations;

namespace Atelier.Cli.Cluster;

/// <summary>The API rejected a call.</summary>
/// <param name="status">Status code of the response.</param>
/// <param name="message">The API's error message.</param>
internal sealed class ApiRefusalException(HttpStatusCode status, string message) : Exception(message)
{
    /// <summary>Status code of the response.</summary>
    public HttpStatusCode Status { get; } = status;

    /// <summary>Whether the error is transient, so that a retry may succeed.</summary>
    public bool IsTransient => Status is HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable
        or HttpStatusCode.GatewayTimeout or HttpStatusCode.InternalServerError or HttpStatusCode.RequestTimeout;
}

/// <summary>An event of a generation.</summary>
internal sealed record ClusterEvent
{
    /// <summary>The event's number. A client that reconnects resumes after it.</summary>
    public required EventNumber Number { get; init; }

    /// <summary>The phase that has begun, or in which a step was completed.</summary>
    public required string Phase { get; init; }

    /// <summary>Completed steps.</summary>
    public int Step { get; init; }

    /// <summary>Total steps.</summary>
    public int Steps { get; init; }

    /// <summary>Why the generation failed; null if it did not.</summary>
    public string? Failure { get; init; }

    /// <summary>Whether this is the last event.</summary>
    public bool IsLast => Phase is "done" or "failed" or "cancelled";
}

/// <summary>A client of a cluster.</summary>
internal sealed class ClusterClient : IDisposable
{
    private const int AnswerBytesMax = 256 << 20;

    private readonly HttpClient _http;
    private readonly TimeProvider _clock;

    /// <summary>Creates a client without connecting.</summary>
    /// <param name="url">URL of the cluster's gateway.</param>
    /// <param name="key">A tenant's key, or the administrator's.</param>
    /// <param name="clock">Source of time.</param>
    public ClusterClient(Uri url, string key, TimeProvider clock)
    {
        _clock = clock;
        Url = url;
        _http = new HttpClient(
            new SocketsHttpHandler { ConnectTimeout = Patience.Connection, AllowAutoRedirect = false })
        {
            BaseAddress = url, Timeout = Timeout.InfiniteTimeSpan, MaxResponseContentBufferSize = AnswerBytesMax,
        };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        _http.DefaultRequestHeaders.UserAgent.ParseAdd("atelier");
    }

    /// <summary>URL of the cluster's gateway.</summary>
    public Uri Url { get; }

    /// <summary>Timeouts and pauses of this client.</summary>
    public ClientPatience Patience { get; init; } = new();

    /// <summary>Reads a URL from the command line.</summary>
    public static Uri ParseUrl(string name, string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out Uri? url) && url.Scheme is "http" or "https"
            ? url
            : throw new UserErrorException($"{name} is \"{text}\"; it must be a URL such as http://127.0.0.1:8080.");

    /// <summary>Checks that a key from the command line is valid in a header.</summary>
    public static string CheckKey(string name, string key) =>
        key.Length > 0 && key.All(c => char.IsAscii(c) && !char.IsControl(c) && c != ' ')
            ? key
            : throw new UserErrorException(
                $"{name} is not a valid key: a key consists of letters, digits, '-', '_' and '~'.");

    /// <summary>Calls a route and reads the JSON of the response; null if the response is empty.</summary>
    /// <exception cref="ApiRefusalException">The API rejected the call.</exception>
    /// <exception cref="HttpRequestException">Nothing listens at the URL, or the connection broke.</exception>
    /// <exception cref="TimeoutException">There was no response in time.</exception>
    public async Task<JsonNode?> CallAsync(
        HttpMethod method, string path, JsonObject? body, CancellationToken cancellation)
    {
        byte[] bytes = await BytesAsync(method, path, body, cancellation);
        try
        {
            return bytes.Length == 0 ? null : JsonNode.Parse(bytes);
        }
        catch (JsonException)
        {
            throw new UserErrorException(
                $"{Url} answered {path} with something other than JSON. Is it a cluster's gateway?");
        }
    }

    /// <summary>Calls a route whose response is a file.</summary>
    public Task<byte[]> BytesAsync(
        HttpMethod method, string path, JsonObject? body, CancellationToken cancellation) =>
        SendAsync(method, path, body is null ? null : JsonContent.Create(body), cancellation);

    /// <summary>Stores bytes at a path.</summary>
    public Task<byte[]> PutAsync(string path, ReadOnlyMemory<byte> bytes, CancellationToken cancellation) =>
        SendAsync(HttpMethod.Put, path, new ReadOnlyMemoryContent(bytes), cancellation);

    private async Task<byte[]> SendAsync(
        HttpMethod method, string path, HttpContent? content, CancellationToken cancellation)
    {
        using var patience = new CancellationTokenSource(Patience.Answer, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellation);
        using var request = new HttpRequestMessage(method, path);
        request.Content = content;
        try
        {
            using HttpResponseMessage answer = await _http.SendAsync(request, either.Token);
            byte[] bytes = await answer.Content.ReadAsByteArrayAsync(either.Token);
            return answer.IsSuccessStatusCode ? bytes : throw Refusal(answer, bytes);
        }
        catch (OperationCanceledException error) when (!cancellation.IsCancellationRequested)
        {
            throw new TimeoutException($"{Url} did not answer within {Patience.Answer.TotalSeconds:0.#} s.", error);
        }
    }

    /// <summary>
    /// Makes an idempotent call, and retries it until it is answered. If nothing listens at the first attempt, there is
    /// no cluster and the call fails, unless <paramref name="mayBeDown"/> is set.
    /// </summary>
    public async Task<T> RetryAsync<T>(Func<Task<T>> call, CancellationToken cancellation, bool mayBeDown = false)
    {
        long start = _clock.GetTimestamp();
        for (int tries = 1; ; tries++)
        {
            try
            {
                return await call();
            }
            catch (HttpRequestException error)
                when (error.HttpRequestError is HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError
                    && tries == 1 && !mayBeDown)
            {
                throw new UserErrorException($"No cluster answers at {Url}: {error.Message}");
            }
            catch (Exception error) when (IsTransient(error))
            {
                if (_clock.GetElapsedTime(start) > Patience.Outage)
                {
                    throw new UserErrorException(
                        $"{Url} has been unavailable for {Patience.Outage.TotalSeconds:0.#} s: {error.Message}");
                }
            }

            await PauseAsync(tries, cancellation);
        }
    }

    /// <summary>
    /// The events of a generation up to the last one, each exactly once. After a broken connection, a new one resumes
    /// after the last event received.
    /// </summary>
    public async IAsyncEnumerable<ClusterEvent> WatchAsync(
        string id, [EnumeratorCancellation] CancellationToken cancellation)
    {
        EventNumber last = EventNumber.Before;
        long broken = 0;
        for (int tries = 1; ; tries++)
        {
            await using IAsyncEnumerator<ClusterEvent?> events = StreamAsync(id, last, cancellation).GetAsyncEnumerator(
                cancellation);
            while (await NextAsync(events, broken))
            {
                broken = 0;
                if (events.Current is not { } one || one.Number <= last)
                {
                    continue;
                }

                (tries, last) = (0, one.Number);
                yield return one;
                if (one.IsLast)
                {
                    yield break;
                }
            }

            broken = broken == 0 ? _clock.GetTimestamp() : broken;
            await PauseAsync(tries, cancellation);
        }
    }

    /// <summary>The server-sent events of the response to a call, until the response ends.</summary>
    /// <exception cref="ApiRefusalException">The API rejected the call, or ended the stream with an error.</exception>
    /// <exception cref="HttpRequestException">Nothing listens at the URL, or the connection broke.</exception>
    /// <exception cref="TimeoutException">There was no response, or the stream was silent for too long.</exception>
    public async IAsyncEnumerable<StreamEvent> EventsAsync(
        HttpMethod method, string path, JsonObject body, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(method, path) { Content = JsonContent.Create(body) };
        using HttpResponseMessage answer = await BeginAsync(request, cancellation);
        using var reader = new EventStreamReader(
            await answer.Content.ReadAsStreamAsync(cancellation), Patience.Silence, _clock);
        while (await reader.ReadAsync(cancellation) is { } one)
        {
            yield return one.Name == "error" ? throw Refusal(HttpStatusCode.ServiceUnavailable, one.Data) : one;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    // Whether there is another event on this connection; false if the connection has ended and a new one may resume.
    private async Task<bool> NextAsync(IAsyncEnumerator<ClusterEvent?> events, long broken)
    {
        try
        {
            return await events.MoveNextAsync();
        }
        catch (Exception error) when (IsTransient(error))
        {
            return broken == 0 || _clock.GetElapsedTime(broken) <= Patience.Outage
                ? false
                : throw new UserErrorException(
                    $"{Url} has been unavailable for {Patience.Outage.TotalSeconds:0.#} s: {error.Message}. The "
                    + "generation continues there if possible.");
        }
    }

    // The items of one connection: first null, once the connection is established, and then events.
    private async IAsyncEnumerable<ClusterEvent?> StreamAsync(
        string id, EventNumber last, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/generations/{id}/events");
        request.Headers.Accept.ParseAdd("text/event-stream");
        if (last > EventNumber.Before)
        {
            request.Headers.TryAddWithoutValidation("Last-Event-ID", last.ToString());
        }

        using HttpResponseMessage answer = await BeginAsync(request, cancellation);
        using var reader = new EventStreamReader(
            await answer.Content.ReadAsStreamAsync(cancellation), Patience.Silence, _clock);
        yield return null;
        while (await reader.ReadAsync(cancellation) is { } one)
        {
            if (one.Name == "error")
            {
                throw Refusal(HttpStatusCode.ServiceUnavailable, one.Data);
            }

            if (EventNumber.TryParse(one.Id, out EventNumber number) && ParseEvent(number, one.Data) is { } parsed)
            {
                yield return parsed;
            }
        }
    }

    private async Task<HttpResponseMessage> BeginAsync(HttpRequestMessage request, CancellationToken cancellation)
    {
        using var patience = new CancellationTokenSource(Patience.Answer, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(patience.Token, cancellation);
        HttpResponseMessage? answer = null;
        try
        {
            answer = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token);
            if (!answer.IsSuccessStatusCode)
            {
                throw Refusal(answer, await answer.Content.ReadAsByteArrayAsync(either.Token));
            }

            HttpResponseMessage begun = answer;
            answer = null;
            return begun;
        }
        catch (OperationCanceledException error) when (!cancellation.IsCancellationRequested)
        {
            throw new TimeoutException($"{Url} did not answer within {Patience.Answer.TotalSeconds:0.#} s.", error);
        }
        finally
        {
            answer?.Dispose();
        }
    }

    private static ClusterEvent? ParseEvent(EventNumber number, string data)
    {
        try
        {
            return JsonNode.Parse(data) is JsonObject one && one["phase"]?.GetValue<string>() is { } phase
                ? new ClusterEvent
                {
                    Number = number,
                    Phase = phase,
                    Step = one["step"]?.GetValue<int>() ?? 0,
                    Steps = one["steps"]?.GetValue<int>() ?? 0,
                    Failure = one["error"]?["message"]?.GetValue<string>(),
                }
                : null;
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or FormatException)
        {
            return null; // An event of an unknown kind.
        }
    }

    private static bool IsTransient(Exception error) => error is HttpRequestException or TimeoutException or IOException
        || error is ApiRefusalException { IsTransient: true };

    private Task PauseAsync(int tries, CancellationToken cancellation) => Task.Delay(
        TimeSpan.FromTicks(Math.Min(Patience.PauseMax.Ticks, Patience.PauseMin.Ticks << Math.Clamp(tries - 1, 0, 10))),
        _clock, cancellation);

    private ApiRefusalException Refusal(HttpResponseMessage answer, byte[] body) =>
        Refusal(answer.StatusCode, System.Text.Encoding.UTF8.GetString(body));

    private ApiRefusalException Refusal(HttpStatusCode status, string body)
    {
        try
        {
            if (JsonNode.Parse(body)?["error"]?["message"]?.GetValue<string>() is { Length: > 0 } message)
            {
                return new ApiRefusalException(status, message);
            }
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The response is not from the API, but from something in between, such as a proxy.
        }

        return new ApiRefusalException(
            status,
            $"{Url} answers {((int)status).ToString(CultureInfo.InvariantCulture)} without a message. Is it a "
            + "cluster's gateway?");
    }
}

/// <summary>Timeouts and pauses of a client.</summary>
internal sealed record ClientPatience
{
    /// <summary>Timeout of a connection attempt.</summary>
    public TimeSpan Connection { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Timeout of a response.</summary>
    public TimeSpan Answer { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Longest silence on a stream; the cluster sends a keep-alive every 15 seconds.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(40);

    /// <summary>How long to retry while the cluster is unavailable.</summary>
    public TimeSpan Outage { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>The first pause between attempts.</summary>
    public TimeSpan PauseMin { get; init; } = TimeSpan.FromSeconds(0.1);

    /// <summary>The longest pause between attempts.</summary>
    public TimeSpan PauseMax { get; init; } = TimeSpan.FromSeconds(2);
}

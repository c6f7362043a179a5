// The gateway's own error responses, in OpenAI's error format.
using System.Globalization;
using System.Text.Json;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Answers;

/// <summary>An error response, with its status and its advice on retries.</summary>
/// <param name="Status">HTTP status code.</param>
/// <param name="Type">OpenAI's error type, such as invalid_request_error.</param>
/// <param name="Code">Machine-readable error code.</param>
/// <param name="Message">What is wrong and how to fix it.</param>
internal sealed record GatewayError(int Status, string Type, string Code, string Message)
{
    private const string InvalidRequest = "invalid_request_error";
    private const string RateLimit = "rate_limit_error";
    private const string Server = "server_error";

    /// <summary>Gets the time after which a retry makes sense, sent as Retry-After.</summary>
    public TimeSpan? RetryAfter { get; init; }

    // Every refused key gets the same response, so that the response does not reveal the reason.
    public static GatewayError NoKey { get; } = new(
        401, InvalidRequest, "invalid_api_key",
        "A valid API key is required: send it as Authorization: Bearer KEY.");

    // The response is the same whether or not the key's tenant exists.
    public static GatewayError TooManyUnknownKeys { get; } = new(
        429, RateLimit, "too_many_unknown_keys",
        "Too many unknown keys are being tried, so this one was not looked up. If it is new, it will work within "
        + "seconds: send the request again.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError NoCluster { get; } = new(
        503, Server, "cluster_unavailable",
        "The cluster is starting or cannot be reached; nothing was done. Send the request again.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError SiloLost { get; } = new(
        502, Server, "silo_lost",
        "The connection to the silo was lost before the silo answered; the outcome of the request is unknown. Check "
        + "the result, or send the request again with the same id.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError TooLate { get; } = new(
        504, Server, "silo_too_late",
        "The silo did not answer the request in time; the outcome is unknown.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError Internal { get; } = new(
        500, Server, "internal_error",
        "Internal error in the gateway. To report it, quote the id in the header x-request-id.");

    public static GatewayError UnknownUrl { get; } = new(
        404, InvalidRequest, "unknown_url", "There is nothing at this address; /docs lists the routes.");

    public static GatewayError WrongHost { get; } = new(
        400, InvalidRequest, "bad_request",
        "The header Host must be a host name or an IP address, optionally with a port in 1..65535.");

    public static GatewayError HeadersTooSlow { get; } = new(
        408, InvalidRequest, "headers_too_slow", "The request's headers did not arrive in time.");

    public static GatewayError NotForwarded { get; } = new(
        400, InvalidRequest, "bad_request", "A header of the request contains characters that cannot be forwarded.");

    public static GatewayError TooMany(TimeSpan wait) => new(
        429, RateLimit, "rate_limit_exceeded", "Too many requests at once; retry after the time in Retry-After.")
    { RetryAfter = wait };

    public static GatewayError TooManyOpen(int max) => new(
        429, RateLimit, "too_many_open_requests",
        $"This tenant is at its limit of {max} requests in progress at this gateway: end a stream, or wait for "
        + "a response.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError TooManyOpenKeyless { get; } = new(
        429, RateLimit, "too_many_open_requests",
        "Too many requests without a key are in progress at this gateway: retry in a moment.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError BodyNotAllowed { get; } = new(
        400, InvalidRequest, "body_not_allowed",
        "A request to this address must not have a body: send it without one.");

    public static GatewayError BodyTooLarge(int bytesMax) => new(
        413, InvalidRequest, "body_too_large", $"The body is larger than the maximum of {bytesMax} bytes.");

    /// <summary>The error for a request that a web server refused with only a status code.</summary>
    public static GatewayError Of(int status) => status switch
    {
        404 => UnknownUrl,
        405 => new(405, InvalidRequest, "method_not_allowed", "This address does not support the request's method."),
        413 => BodyTooLarge(GatewaySettings.RequestBytesMax),
        408 => new(408, InvalidRequest, "body_too_slow", "The body did not arrive in time."),
        414 => new(414, InvalidRequest, "url_too_long", "The request's target is too long."),
        431 => new(431, InvalidRequest, "headers_too_large", "The request has too many headers, or they are too long."),
        400 => new(400, InvalidRequest, "bad_request", "The request is truncated or is not valid HTTP."),
        < 500 => new(status, InvalidRequest, "error", $"The request was answered with status {status}."),
        _ => new(status, Server, "error", $"The request was answered with status {status}."),
    };

    /// <summary>The error as JSON, in OpenAI's format.</summary>
    public byte[] Body() => JsonSerializer.SerializeToUtf8Bytes(
        new { error = new { message = Message, type = Type, param = (string?)null, code = Code } });

    /// <summary>Sends the error as the response and stores it in the request's features.</summary>
    public async Task WriteAsync(HttpContext context)
    {
        context.Features.Set(this);
        HttpResponse response = context.Response;
        response.StatusCode = Status;
        response.ContentType = "application/json";
        response.Headers.CacheControl = "no-store";
        if (Status == StatusCodes.Status401Unauthorized)
        {
            response.Headers.WWWAuthenticate = "Bearer";
        }

        if (RetryAfter is { } wait)
        {
            response.Headers.RetryAfter = Math.Max(1, Math.Ceiling(wait.TotalSeconds)).ToString(
                CultureInfo.InvariantCulture);
        }

        byte[] body = Body();
        response.ContentLength = body.Length;
        if (!HttpMethods.IsHead(context.Request.Method))
        {
            await response.Body.WriteAsync(body, CancellationToken.None);
        }
    }
}

// What the gateway itself answers when something is wrong, in OpenAI's error shape.
using System.Globalization;
using System.Text.Json;
using Atelier.Gateway.Settings;

namespace Atelier.Gateway.Answers;

/// <summary>An error with its status and what it says about coming back.</summary>
/// <param name="Status">Status of HTTP.</param>
/// <param name="Type">The kind of error.</param>
/// <param name="Code">The error's name, for programs.</param>
/// <param name="Message">The fault in a sentence, and what would be right.</param>
internal sealed record GatewayError(int Status, string Type, string Code, string Message)
{
    private const string InvalidRequest = "invalid_request_error";
    private const string RateLimit = "rate_limit_error";
    private const string Server = "server_error";

    /// <summary>Gets when to come back.</summary>
    public TimeSpan? RetryAfter { get; init; }

    // One answer for every key that is not let in: what is wrong with it is nobody's business.
    public static GatewayError NoKey { get; } = new(
        401, InvalidRequest, "invalid_api_key",
        "This takes a key that is known here: send it as Authorization: Bearer KEY.");

    // The same for keys of tenants that exist and of others.
    public static GatewayError TooManyUnknownKeys { get; } = new(
        429, RateLimit, "too_many_unknown_keys",
        "Too many unknown keys are being tried, so this one was not looked up. A key that was just created works "
        + "within seconds: send the request again.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError NoCluster { get; } = new(
        503, Server, "cluster_unavailable",
        "The cluster is starting or cannot be reached; nothing was done. Send the request again.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError SiloLost { get; } = new(
        502, Server, "silo_lost",
        "The silo that had the request went away before it answered; whether it was done is not known. Look, or send "
        + "it again with the same id.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError TooLate { get; } = new(
        504, Server, "silo_too_late",
        "The silo that had the request did not answer in time; whether it was done is not known.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static GatewayError Internal { get; } = new(
        500, Server, "internal_error",
        "Something went wrong in the gateway that should not; the request's id is in the header x-request-id.");

    public static GatewayError UnknownUrl { get; } = new(
        404, InvalidRequest, "unknown_url", "There is nothing at this address; /docs shows what there is.");

    public static GatewayError WrongHost { get; } = new(
        400, InvalidRequest, "bad_request",
        "The header Host must be a host name or an IP address, with a port in 1..65535 or none.");

    public static GatewayError HeadersTooSlow { get; } = new(
        408, InvalidRequest, "headers_too_slow", "The request's headers did not come in time.");

    public static GatewayError NotForwarded { get; } = new(
        400, InvalidRequest, "bad_request", "A header of the request holds characters that cannot be passed on.");

    public static GatewayError TooMany(TimeSpan wait) => new(
        429, RateLimit, "rate_limit_exceeded", "These are too many requests at once; come back a little later.")
    { RetryAfter = wait };

    public static GatewayError TooManyOpen(int max) => new(
        429, RateLimit, "too_many_open_requests",
        $"This tenant has {max} requests in progress at this gateway, the most that it may: end a stream, or wait "
        + "for an answer.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    /// <summary>What a client is told where a server has refused the request with nothing but a status.</summary>
    public static GatewayError Of(int status) => status switch
    {
        404 => UnknownUrl,
        405 => new(405, InvalidRequest, "method_not_allowed", "This address does not know the request's method."),
        413 =>
            new(
                413, InvalidRequest, "body_too_large",
                $"The body has more than {GatewaySettings.RequestBytesMax} bytes, the most that are read."),
        408 => new(408, InvalidRequest, "body_too_slow", "The body did not come in time."),
        414 => new(414, InvalidRequest, "url_too_long", "The request's target is too long."),
        431 => new(431, InvalidRequest, "headers_too_large", "The request has too many headers, or they are too long."),
        400 => new(400, InvalidRequest, "bad_request", "The request is cut short or is not proper HTTP."),
        < 500 => new(status, InvalidRequest, "error", $"The request was answered with status {status}."),
        _ => new(status, Server, "error", $"The request was answered with status {status}."),
    };

    /// <summary>The error in OpenAI's shape.</summary>
    public byte[] Body() => JsonSerializer.SerializeToUtf8Bytes(
        new { error = new { message = Message, type = Type, param = (string?)null, code = Code } });

    /// <summary>Sends the error as the answer, and leaves it among the request's features.</summary>
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

// Every error that a client can get, in OpenAI's error format. This is the one place where outcomes of grain calls
// become HTTP responses.
using System.Globalization;
using Atelier.Contracts.Generations;

namespace Atelier.Silo.Api.Http;

/// <summary>An error response, with its status and its advice on retries.</summary>
/// <param name="Status">HTTP status code.</param>
/// <param name="Type">OpenAI's error type, such as invalid_request_error.</param>
/// <param name="Code">Machine-readable error code.</param>
/// <param name="Message">What is wrong, in a sentence.</param>
internal sealed record ApiError(int Status, string Type, string Code, string Message) : IResult
{
    public const string InvalidRequest = "invalid_request_error";
    public const string RateLimit = "rate_limit_error";
    public const string Server = "server_error";

    /// <summary>Gets the member of the request that is at fault.</summary>
    public string? Param { get; init; }

    /// <summary>Gets the time after which a retry makes sense, sent as Retry-After.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>
    /// Gets whether OpenAI's official clients should retry by themselves; null if they should follow their own rule.
    /// </summary>
    public bool? ShouldRetry { get; init; }

    /// <summary>Gets the supported content codings, if the request's content coding is not supported.</summary>
    public string? AcceptEncoding { get; init; }

    /// <summary>Gets the body, in OpenAI's error format.</summary>
    public ErrorResponse Body => new(new ErrorDetail(Message, Type, Param, Code));

    public static ApiError NoTicket { get; } = new(
        401, InvalidRequest, "invalid_ticket",
        "A silo accepts only calls that a gateway has signed: send the request to the gateway, with an API key.");

    public static ApiError NotAdmin { get; } = new(
        403, InvalidRequest, "not_admin", "This route requires the administrator's key.");

    public static ApiError NotTrainer { get; } = new(
        403, InvalidRequest, "not_trainer",
        "Your tenant may not train. The administrator can grant this right (atelier tenants put TENANT --may-train).");

    public static ApiError NoTenant { get; } = new(
        403, InvalidRequest, "no_tenant", "The administrator has no generations: use a tenant's key.");

    public static ApiError TooLarge { get; } = new(
        413, InvalidRequest, "body_too_large",
        $"The body is larger than the maximum of {RequestBody.BytesMax} bytes.");

    public static ApiError TooLargeDecoded { get; } = new(
        413, InvalidRequest, "body_too_large",
        $"The decoded body is larger than the maximum of {RequestBody.BytesMax} bytes.");

    public static ApiError NotJson { get; } = new(
        415, InvalidRequest, "unsupported_media_type",
        "The body must be JSON: send it with Content-Type: application/json.");

    public static ApiError Unavailable { get; } = new(
        503, Server, "unavailable",
        "The cluster did not answer in time; the outcome of the request is unknown. Send it again.")
    { RetryAfter = TimeSpan.FromSeconds(2) };

    public static ApiError StoreFull { get; } = new(
        503, Server, "store_full",
        "The cluster's disk is full; nothing was changed. Send the request again when there is space.")
    { RetryAfter = TimeSpan.FromSeconds(30) };

    public static ApiError Stopping { get; } = new(
        503, Server, "server_stopping",
        "This server is shutting down; the work continues. Send the request again.")
    { RetryAfter = TimeSpan.FromSeconds(1) };

    public static ApiError Internal { get; } = new(
        500, Server, "internal_error",
        "Internal error. To report it, quote the id in the header x-request-id.")
    { ShouldRetry = false };

    public static ApiError Invalid(string? param, string code, string message) =>
        new(400, InvalidRequest, code, message) { Param = param };

    public static ApiError NotDecoded(string encoding) =>
        new(415, InvalidRequest, "unsupported_content_encoding",
            $"The body's Content-Encoding '{Shortened(encoding)}' is not supported; use {RequestBody.Encodings}, or "
            + "none.")
        { Param = "Content-Encoding", AcceptEncoding = RequestBody.Encodings };

    public static ApiError NotFound(string what, string? param = null) =>
        new(404, InvalidRequest, "not_found", $"There is no such {what}.") { Param = param };

    public static ApiError UnknownModel(string? name) =>
        new(404, InvalidRequest, "model_not_found",
            $"There is no model '{Shortened(name)}'; GET /v1/models lists the models.")
        { Param = "model" };

    /// <summary>The error for a submission; null if it was accepted.</summary>
    public static ApiError? Of(SubmitAnswer answer)
    {
        string message = answer.Message ?? "The request was refused.";
        return answer.Outcome switch
        {
            SubmitOutcome.Accepted or SubmitOutcome.Exists => null,
            SubmitOutcome.Conflict =>
                new(409, InvalidRequest, "id_conflict", message) { Param = "id", ShouldRetry = false },
            SubmitOutcome.Gone => new(410, InvalidRequest, "gone", message) { Param = "id" },
            SubmitOutcome.Invalid => Invalid(null, "invalid_value", message),
            SubmitOutcome.UnknownModel => new(404, InvalidRequest, "model_not_found", message) { Param = "model" },
            SubmitOutcome.Busy =>
                new(503, Server, "server_busy", message) { RetryAfter = answer.RetryAfter ?? TimeSpan.FromSeconds(5) },
            SubmitOutcome.RateLimited =>
                new(429, RateLimit, "rate_limit_exceeded", message)
                { RetryAfter = answer.RetryAfter ?? TimeSpan.FromSeconds(5) },
            SubmitOutcome.TooManyOpen =>
                new(429, RateLimit, "too_many_open_generations", message)
                { RetryAfter = answer.RetryAfter ?? TimeSpan.FromSeconds(5) },
            SubmitOutcome.TooMuchStored =>
                new(429, "insufficient_quota", "storage_limit_reached", message) { ShouldRetry = false },
            SubmitOutcome.StoreFull => StoreFull,
            SubmitOutcome.TooManySessions => new(429, RateLimit, "too_many_sessions", message) { ShouldRetry = false },
            SubmitOutcome.DailyLimit =>
                new(429, "insufficient_quota", "daily_limit_reached", message)
                { RetryAfter = answer.RetryAfter, ShouldRetry = false },
            SubmitOutcome.UnknownTenant => new(401, InvalidRequest, "invalid_api_key", message),
            _ => Internal,
        };
    }

    /// <summary>The error for a generation that ended without a picture.</summary>
    public static ApiError Of(GenerationEvent end) => end switch
    {
        { Phase: GenerationPhase.Cancelled } =>
            new(400, "image_generation_user_error", "cancelled",
                "The generation was cancelled before its picture was ready."),
        { Error: GenerationError.InvalidRequest } =>
            Invalid(null, "invalid_request", end.Message ?? "The model rejected the request."),
        _ => new(500, Server, ApiJson.NameOf(end.Error), end.Message ?? "The generation failed.")
        { ShouldRetry = false },
    };

    /// <summary>The error for a request that the web server refused to read.</summary>
    public static ApiError Of(BadHttpRequestException error) => error.StatusCode switch
    {
        413 => TooLarge,
        408 => new(408, InvalidRequest, "body_too_slow", "The body did not arrive in time."),
        _ => new(400, InvalidRequest, "bad_request", "The request is truncated or is not valid HTTP."),
    };

    /// <summary>The error for a response that has only a status code.</summary>
    public static ApiError Of(int status, HttpRequest request) => status switch
    {
        404 => new(404, InvalidRequest, "unknown_url",
            $"There is no route for {request.Method} {Shortened(request.Path.Value)}."),
        405 => new(405, InvalidRequest, "method_not_allowed",
            $"{Shortened(request.Path.Value)} does not support the method {request.Method}."),
        415 => NotJson,
        < 500 => new(status, InvalidRequest, "error", $"The request was answered with status {status}."),
        _ => new(status, Server, "error", $"The request was answered with status {status}."),
    };

    /// <inheritdoc/>
    public Task ExecuteAsync(HttpContext httpContext)
    {
        HttpResponse response = httpContext.Response;
        response.StatusCode = Status;
        if (RetryAfter is { } wait)
        {
            response.Headers.RetryAfter =
                ((long)Math.Max(1, Math.Ceiling(wait.TotalSeconds))).ToString(CultureInfo.InvariantCulture);
        }

        if (ShouldRetry is { } retry)
        {
            response.Headers["x-should-retry"] = retry ? "true" : "false";
        }

        if (AcceptEncoding is not null)
        {
            response.Headers.AcceptEncoding = AcceptEncoding;
        }

        httpContext.RequestServices.GetRequiredService<ApiInstruments>().Refused(Code);
        return response.WriteAsJsonAsync(Body, ApiJson.Options, httpContext.RequestAborted);
    }

    private static string Shortened(string? text) => ShortText.WithDots(text ?? "", 100);
}

/// <summary>Thrown to end a request with an error response.</summary>
/// <param name="error">The error.</param>
/// <param name="inner">The cause.</param>
internal sealed class ApiException(ApiError error, Exception? inner = null) : Exception(error.Message, inner)
{
    /// <summary>Gets the error.</summary>
    public ApiError Error { get; } = error;
}

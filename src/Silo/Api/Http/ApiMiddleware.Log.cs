// Log events of requests to the API, for an operator.
namespace Atelier.Silo.Api.Http;

/// <summary>Log events of the API.</summary>
internal static partial class ApiLog
{
    [LoggerMessage(EventId = 621, Level = LogLevel.Error, Message = "Request {RequestId} failed: {Method} {Route}.")]
    public static partial void RequestFailed(
        this ILogger logger, Exception error, string method, string? route, string requestId);

    [LoggerMessage(
        EventId = 622, Level = LogLevel.Error, Message = "The event stream of request {RequestId} failed.")]
    public static partial void StreamFailed(this ILogger logger, Exception error, string requestId);

    [LoggerMessage(
        EventId = 623, Level = LogLevel.Debug,
        Message = "Request {RequestId} was answered with status {Status}: {Method} {Route}.")]
    public static partial void RequestEnded(
        this ILogger logger, string requestId, int status, string method, string? route);
}

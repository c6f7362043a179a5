// What an operator reads about requests to the API.
namespace Atelier.Silo.Api.Http;

/// <summary>Log events of the API.</summary>
internal static partial class ApiLog
{
    [LoggerMessage(
        EventId = 621, Level = LogLevel.Error, Message = "{Method} {Path} failed; its request id is {RequestId}.")]
    public static partial void RequestFailed(
        this ILogger logger, Exception error, string method, string path, string requestId);

    [LoggerMessage(
        EventId = 622, Level = LogLevel.Error, Message = "A stream failed; its request id is {RequestId}.")]
    public static partial void StreamFailed(this ILogger logger, Exception error, string requestId);
}

// Log events about the end of a silo's node, for an operator.
namespace Atelier.Silo.Hosting.Preemption;

/// <summary>Log events of preemption.</summary>
internal static partial class PreemptionLog
{
    [LoggerMessage(
        EventId = 611, Level = LogLevel.Warning, Message = "This node will be taken, and the silo drains: {Notice}")]
    public static partial void NodeNoticed(this ILogger logger, PreemptionNotice notice);

    [LoggerMessage(
        EventId = 612, Level = LogLevel.Information,
        Message = "The silo stops because its node will be taken; its work was handed over: {IsDrained}")]
    public static partial void NodeDrained(this ILogger logger, bool isDrained);

    [LoggerMessage(
        EventId = 613, Level = LogLevel.Warning,
        Message = "The notice was withdrawn. A silo that drains stops nevertheless, and one that waits starts.")]
    public static partial void NoticeWithdrawn(this ILogger logger);

    [LoggerMessage(
        EventId = 614, Level = LogLevel.Warning,
        Message = "The cloud's metadata service cannot be read, and is polled less often: {Reason}")]
    public static partial void NoticeFails(this ILogger logger, string reason);

    [LoggerMessage(
        EventId = 615, Level = LogLevel.Information, Message = "The cloud's metadata service can be read again")]
    public static partial void NoticeWorks(this ILogger logger);

    [LoggerMessage(
        EventId = 616, Level = LogLevel.Warning,
        Message = "This node will be taken, and the silo does not start before the notice is withdrawn: {Notice}")]
    public static partial void NodeAwaited(this ILogger logger, PreemptionNotice notice);
}

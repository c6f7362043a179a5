// Log events about steps of the wall clock, for an operator.
using Microsoft.Extensions.Logging;

namespace Atelier.ServiceDefaults;

/// <summary>Log events about the wall clock.</summary>
internal static partial class ClockLog
{
    [LoggerMessage(
        EventId = 801, Level = LogLevel.Warning,
        Message =
            "The system clock was changed by {Seconds:f0} s. This process hands its work back and exits; its "
            + "supervisor restarts it.")]
    public static partial void ClockSet(this ILogger logger, double seconds);
}

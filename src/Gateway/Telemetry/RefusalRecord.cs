// What the gateway refuses, counted and logged. Anybody can cause refusals, so one event in ten seconds is logged for
// each reason, with their number.
using Atelier.Contracts.Diagnostics;

namespace Atelier.Gateway.Telemetry;

/// <summary>Records refusals.</summary>
internal sealed class RefusalRecord(GatewayInstruments instruments, LogLimits limits, ILogger<RefusalRecord> logger)
{
    /// <summary>A request or a connection was refused.</summary>
    /// <param name="reason">Why, as one of few constants.</param>
    /// <param name="request">The request's id, if it has one.</param>
    public void Add(string reason, string? request = null)
    {
        instruments.Refused(reason);
        if (limits.Passes(nameof(GatewayLog.Refused), reason, out int count))
        {
            logger.Refused(count, reason, request);
        }
    }
}

// The gateway's refusals, counted and logged. Any client can cause them, so the log gets at most one event every ten
// seconds for each reason, with the number of refusals.
using Atelier.Contracts.Diagnostics;

namespace Atelier.Gateway.Telemetry;

/// <summary>Records refusals.</summary>
internal sealed class RefusalRecord(GatewayInstruments instruments, LogLimits limits, ILogger<RefusalRecord> logger)
{
    /// <summary>Records a request or connection that was refused.</summary>
    /// <param name="reason">The reason, from a small set of constants.</param>
    /// <param name="request">The request's id; null for a connection.</param>
    public void Add(string reason, string? request = null)
    {
        instruments.Refused(reason);
        if (limits.Passes(nameof(GatewayLog.Refused), reason, out int count))
        {
            logger.Refused(count, reason, request);
        }
    }
}

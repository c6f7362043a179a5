// Log events about pools, for an operator.
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Scaling;

/// <summary>Log events of pools.</summary>
internal static partial class PoolLog
{
    [LoggerMessage(
        EventId = 521, Level = LogLevel.Warning,
        Message = "Pool {Pool} should have {Wanted} silos and has had none for {Time}. Check that they start, and that "
            + "their Silo:Pool is {Pool}: the cluster's silos are of {Pools}.")]
    public static partial void PoolIsEmpty(this ILogger logger, string pool, int wanted, TimeSpan time, string pools);
}

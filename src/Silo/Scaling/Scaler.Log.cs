// Log events about autoscaling, for an operator.
namespace Atelier.Silo.Scaling;

/// <summary>Log events of the scaler.</summary>
internal static partial class ScalerLog
{
    [LoggerMessage(
        EventId = 661, Level = LogLevel.Information,
        Message = "Pool {Pool} needs silos: {IsActive}; the autoscaler was told")]
    public static partial void PoolActive(this ILogger logger, string pool, bool isActive);
}

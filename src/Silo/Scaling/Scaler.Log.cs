// Log events about autoscaling, for an operator.
namespace Atelier.Silo.Scaling;

/// <summary>Log events of the scaler.</summary>
internal static partial class ScalerLog
{
    [LoggerMessage(
        EventId = 661, Level = LogLevel.Information,
        Message = "The autoscaler was notified whether pool {Pool} needs silos: {IsActive}")]
    public static partial void PoolActive(this ILogger logger, string pool, bool isActive);
}

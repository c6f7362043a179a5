// Log events about a silo's store, device and cluster, for an operator.
namespace Atelier.Silo.Hosting;

/// <summary>Log events of a silo.</summary>
internal static partial class SiloLog
{
    [LoggerMessage(EventId = 601, Level = LogLevel.Warning, Message = "{Warning}")]
    public static partial void StartWarning(this ILogger logger, string warning);

    [LoggerMessage(EventId = 602, Level = LogLevel.Error, Message = "{Fault}")]
    public static partial void StoreFails(this ILogger logger, string fault);

    [LoggerMessage(
        EventId = 603, Level = LogLevel.Information, Message = "The store has recovered; writes succeed again.")]
    public static partial void StoreWrites(this ILogger logger);

    [LoggerMessage(
        EventId = 604, Level = LogLevel.Warning,
        Message = "The store's maintenance failed and is retried every second: {Reason}")]
    public static partial void StoreUntidy(this ILogger logger, string reason);

    [LoggerMessage(EventId = 605, Level = LogLevel.Information, Message = "Silo {Silo} at {Address} is {Status}")]
    public static partial void SiloChanged(
        this ILogger logger, string silo, SiloAddress address, SiloStatus status);

    [LoggerMessage(EventId = 606, Level = LogLevel.Warning, Message = "Silo {Silo} at {Address} is dead")]
    public static partial void SiloDied(this ILogger logger, string silo, SiloAddress address);

    [LoggerMessage(EventId = 607, Level = LogLevel.Error, Message = "Device {Device} does not work: {Reason}")]
    public static partial void DeviceFails(this ILogger logger, string device, string reason);

    [LoggerMessage(EventId = 608, Level = LogLevel.Information, Message = "Device {Device} works")]
    public static partial void DeviceWorks(this ILogger logger, string device);
}

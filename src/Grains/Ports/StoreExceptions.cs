// Failures of the store of grain states. They are OrleansExceptions, so that they reach the caller of a grain
// unwrapped.
namespace Atelier.Grains.Ports;

/// <summary>The store failed to read or write. Nothing was changed; the same call may succeed later.</summary>
[GenerateSerializer, Alias("atelier.StoreUnavailableException")]
public class StoreUnavailableException : OrleansException
{
    /// <summary>Creates the exception with a message that says what failed.</summary>
    public StoreUnavailableException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with a message that says what failed, and the cause.</summary>
    public StoreUnavailableException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>The store is full. Writes succeed again once there is room.</summary>
[GenerateSerializer, Alias("atelier.StoreFullException")]
public sealed class StoreFullException : StoreUnavailableException
{
    /// <summary>Creates the exception with a message that says what is full.</summary>
    public StoreFullException(string message)
        : base(message)
    {
    }

    /// <summary>Creates the exception with a message that says what is full, and the cause.</summary>
    public StoreFullException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

// What a store of grain states says when it cannot do what it is asked. Both are OrleansException, so that they reach
// the caller of a grain as they are.
namespace Atelier.Grains.Ports;

/// <summary>The store did not write or read. Nothing was changed; the same call may work later.</summary>
[GenerateSerializer, Alias("atelier.StoreUnavailableException")]
public class StoreUnavailableException : OrleansException
{
    /// <summary>Says what failed.</summary>
    public StoreUnavailableException(string message)
        : base(message)
    {
    }

    /// <summary>Says what failed, and why.</summary>
    public StoreUnavailableException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>The store has no room. Writes work again once there is some.</summary>
[GenerateSerializer, Alias("atelier.StoreFullException")]
public sealed class StoreFullException : StoreUnavailableException
{
    /// <summary>Says what has no room.</summary>
    public StoreFullException(string message)
        : base(message)
    {
    }

    /// <summary>Says what has no room, and why.</summary>
    public StoreFullException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

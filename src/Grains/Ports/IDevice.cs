// What a device is, whatever is computed on it. Behind it are one thread, which has one owner at a time, and one piece
// of work at a time; a device whose error sticks, or whose kernel does not come back, ends the process instead of
// answering.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Ports;

/// <summary>What a worker is made of.</summary>
public sealed record DeviceDescription
{
    /// <summary>Name of the device within its silo.</summary>
    public required string Device { get; init; }

    /// <summary>All that a picture's bits depend on besides its specification.</summary>
    public required string DeviceKind { get; init; }

    /// <summary>What it may do.</summary>
    public required WorkRoles Roles { get; init; }

    /// <summary>Pictures in its hands at most.</summary>
    public required int Slots { get; init; }

    /// <summary>Rows of a forward pass: a guided picture takes two of them, another one.</summary>
    public required int Rows { get; init; }

    /// <summary>Memory for models, in bytes.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Models that it can load.</summary>
    public required IReadOnlyList<ModelCard> Models { get; init; }
}

/// <summary>A device and the models in its memory. Calls that overlap are done one after the other.</summary>
public interface IDevice
{
    /// <summary>What it is.</summary>
    DeviceDescription Description { get; }

    /// <summary>Loads a model; for one that is there it does nothing.</summary>
    Task LoadAsync(ModelDigest model, CancellationToken cancellation);

    /// <summary>Evicts a model; for one that is not there it does nothing.</summary>
    Task EvictAsync(ModelDigest model, CancellationToken cancellation);

    /// <summary>Does a small piece of work whose answer is known.</summary>
    /// <exception cref="Exception">The device does not work: it threw, or its answer is wrong.</exception>
    Task ProbeAsync(CancellationToken cancellation);
}

/// <summary>A device that draws pictures. Only a worker's loop and its pending calls use it.</summary>
public interface IDeviceHost : IDevice, IPictureWork;

/// <summary>
/// A device could not do a piece of work and is sound otherwise. Pictures that took part in it stand where they stood.
/// </summary>
/// <param name="error">Why, as users are told.</param>
/// <param name="message">The same in a sentence.</param>
/// <param name="inner">What was thrown.</param>
public sealed class DeviceException(GenerationError error, string message, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>Why, as users are told.</summary>
    public GenerationError Error { get; } = error;
}

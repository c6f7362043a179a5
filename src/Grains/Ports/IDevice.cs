// The port to a device, for all kinds of work. A device has one thread, which has one owner and does one piece of work
// at a time. A sticky device error, or a kernel that does not return, ends the process, so the call is not answered.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Ports;

/// <summary>Properties of a device.</summary>
public sealed record DeviceDescription
{
    /// <summary>Name of the device within its silo.</summary>
    public required string Device { get; init; }

    /// <summary>Identifies everything that a picture's bits depend on besides its specification.</summary>
    public required string DeviceKind { get; init; }

    /// <summary>Kinds of work that the device may do.</summary>
    public required WorkRoles Roles { get; init; }

    /// <summary>Maximum number of pictures that the device denoises at once.</summary>
    public required int Slots { get; init; }

    /// <summary>Rows of a forward pass: a guided picture takes two of them, an unguided one takes one.</summary>
    public required int Rows { get; init; }

    /// <summary>Memory for models, in bytes.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Models that the device can load now.</summary>
    public required IReadOnlyList<ModelCard> Models { get; init; }
}

/// <summary>A device and the models in its memory. Overlapping calls run one after the other.</summary>
public interface IDevice
{
    /// <summary>
    /// Properties of the device. Only <see cref="DeviceDescription.Models"/> changes while the device is in use: it is
    /// replaced by another list when models are added or withdrawn.
    /// </summary>
    DeviceDescription Description { get; }

    /// <summary>Loads a model, unless it is loaded.</summary>
    Task LoadAsync(ModelDigest model, CancellationToken cancellation);

    /// <summary>Evicts a model, if it is loaded.</summary>
    Task EvictAsync(ModelDigest model, CancellationToken cancellation);

    /// <summary>Runs a small computation with a known result.</summary>
    /// <exception cref="Exception">The device does not work: it failed, or its result is wrong.</exception>
    Task ProbeAsync(CancellationToken cancellation);
}

/// <summary>A device that draws pictures. Only a worker's loop and its pending calls use it.</summary>
public interface IDeviceHost : IDevice, IPictureWork;

/// <summary>
/// The failure of a device at one piece of work; otherwise the device is sound. Pictures that took part keep their
/// state.
/// </summary>
/// <param name="error">The reason that users see.</param>
/// <param name="message">The reason in a sentence.</param>
/// <param name="inner">The cause.</param>
public sealed class DeviceException(GenerationError error, string message, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>The reason that users see.</summary>
    public GenerationError Error { get; } = error;
}
